"""From the IR to machine code: LLVM text, vector mathematics, kernels, compilation, linking, the cache.

In the order that data takes: `text` writes LLVM, `vectormath` and `emit` turn elementwise ops into it.
The package imports `ir` and, when first needed, llvmlite; never jitgrad's face.
"""
