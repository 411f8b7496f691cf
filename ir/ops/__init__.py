"""THE op table: every primitive of the IR, by name. A derivative, a shape rule, a reference: all of it
stands in the op's own record (`record.OpDef`) in the file of its family. Lowering alone lies elsewhere
(`codegen.emit`), for the IR knows no LLVM.

`elementwise`, `shape` (views, pad, concat), `reduce`, `linalg` (products, indexing, random bits), `convolution` and
`structure` (`detach`, `custom_grad`) are the families; `infer` has what inference shares, `sampling` the
samples, of arrays that `draws` makes.

To add an op, add its record and follow the failing tests (CONTRIBUTING.md, "How to add an op").
"""

from __future__ import annotations

from . import convolution, elementwise, linalg, reduce, shape, structure
from .record import OpDef

TABLE: dict[str, OpDef] = {
    op.name: op for family in (elementwise, shape, reduce, linalg, convolution, structure) for op in family.OPS
}
