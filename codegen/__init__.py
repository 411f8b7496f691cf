"""From the IR to machine code: LLVM text, vector mathematics, kernels, compilation, linking.

In the order that data takes: `text` writes LLVM, `vectormath` and `emit` turn elementwise ops into it, `nodes` those
of a kernel. Of the kernels that `ir.fuse` makes, `loops` (on `control`, `memory`, `reductions`, `lines`; `blocks` for
blocks of rows), `contraction` (by `tiling`) and `calls` (`matmul`, `sort`) write functions (`alike` ones once), `fork`
and `threads` (on `waits`, `cores`) share them out to cores. `module` joins them to a program as `abi` says,
`compiler` makes machine code of it for a `target`, and an `executable` runs it on `arrays`, with memory from `pool`.
The package imports `ir` and, when first needed, llvmlite; never jitgrad's face.
"""
