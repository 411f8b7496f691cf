"""The functions of tensors, torch-named: compositions of primitives, the same eager and traced.

    arguments      reading axes, shapes and tensors from arguments
    creation       constructors            elementwise   arithmetic
    comparison     with logic, selection   special       erfc, logaddexp, hypot, lerp
    shaping        views                   arranging     joining, splitting, turning, diagonals
    reductions     sums, extrema, softmax  ordering      scans, sorting, quantiles
    indexing       x[...]                  gathering     gather, scatter, index_add ...
    linalg         matmul, einsum          random        draws
    conversion     dtypes, Python values   copying       copy, deepcopy, pickle
    defaults       the default dtype, limits of dtypes
    methods        which of them are methods of `Tensor`

Importing this package attaches the methods to `Tensor`.
"""

from __future__ import annotations

from . import methods

methods.attach()
