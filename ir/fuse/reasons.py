"""Why a value goes through memory: what kept its reader out of the kernel that makes it.

`Grouping.joint` tells of two groups why they are not one; `why` tells it of a value and a reader, for people.

Imports: `items`; of `groups` the types alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .items import Ref

if TYPE_CHECKING:
    from .groups import Group, Grouping

CALL = "{op} is a kernel of its own"
READ_BY_CALL = "{op}, which reads it, is a kernel of its own"
OPERAND = "it is an operand of a product, which reads it many times"
FOLLOW = "a product takes in elementwise work on its result alone, of its size, that cannot fail"
SIZES = "its readers run over another number of steps"
BETWEEN = "another kernel must run between the two"
ROWS = "its reader has rows of another length"
CUTS = "no one loop nest walks the operands of both"
WHOLE = "{op} is whole only after its kernel"
PARTS = "it is put together from parts"
PLACE = "it is read at other steps than those that make it"
BUDGET = "too much work on scalars, one a row"
ORDER = "the kernels could be one, but something that was joined earlier was in the way"


def why(grouping: Grouping, reader: Group, ref: Ref) -> str:
    """Why `reader` reads `ref`, which another group makes, from memory."""
    root = ref.root
    item = root.item
    if item is None:
        return PARTS
    source, level = grouping.home[root]
    if source.call is not None and not source.size:
        return CALL.format(op=source.call.op)
    if reader.call is not None and all(ref.root is not r for i, _ in reader.members for r, _ in i.args):
        return OPERAND if reader.size else READ_BY_CALL.format(op=reader.call.op)
    if level < 0:
        return WHOLE.format(op=item.op)
    joint = grouping.joint(reader, source)
    return joint if isinstance(joint, str) else ORDER
