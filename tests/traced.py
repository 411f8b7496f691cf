"""What tests of traced functions share: inputs, comparison, and the check of what was recorded."""

from __future__ import annotations

import numpy as np

import jitgrad
from jitgrad import Tensor
from jitgrad.ir.parser import parse
from jitgrad.ir.printer import to_text
from jitgrad.ir.verify import verify
from jitgrad.program import Program


def rand(*shape: int, dtype: str = "float64", seed: int = 0, requires_grad: bool = False) -> Tensor:
    a = np.random.default_rng(seed).normal(size=shape).astype(dtype)
    return jitgrad.from_numpy(a).requires_grad_(requires_grad)


def close(a: Tensor, b: Tensor, tol: float = 1e-12) -> None:
    assert a.shape == b.shape and a.dtype == b.dtype
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tol, atol=tol)


def check_stages(program: Program) -> None:
    """Every stage of `program` verifies, and prints as something that parses to the same."""
    stages = [program.recorded, program.simplified]
    if program.differentiable:
        stages += [program.joint, program.split.forward, program.split.backward]
    for f in stages:
        verify(f)
        text = to_text(f)
        assert to_text(parse(text)) == text
