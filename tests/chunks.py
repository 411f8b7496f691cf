"""Kernels in chunks at any size: the cost model of `ir.fuse.parallel` splits large ones only."""

import jitgrad.ir.fuse.parallel as parallel

FREE = {"WORTH_NS": -1.0, "GRAIN_NS": 1e-9, "PRODUCT_NS": 1e-9, "SHARE": 1e9}


def in_chunks(patch, most=6):
    """Let every kernel that can be split be split into up to `most` chunks; with 1, none. `patch`: a MonkeyPatch."""
    for name, value in FREE.items():
        patch.setattr(parallel, name, value)
    patch.setattr(parallel, "MOST", most)
