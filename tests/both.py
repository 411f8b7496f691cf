"""Running one function in both ways, for the tests of the face: eagerly, and recorded into IR and interpreted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import jitgrad
from jitgrad import Tensor
from jitgrad.ir.interpreter import interpret
from jitgrad.ir.verify import verify
from jitgrad.recording import Recording
from jitgrad.sources import Argument, Key, Offset, StandIn
from jitgrad.state import state


def tensors(result: Any) -> list[Tensor]:
    """The tensors in a result, nested tuples and lists flattened."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, (tuple, list)):
        return [t for r in result for t in tensors(r)]
    return []


def eager(function: Callable[..., Any], *arrays: np.ndarray) -> list[np.ndarray]:
    """The results of `function` on tensors over copies of `arrays`."""
    return [t.detach().numpy() for t in tensors(function(*[jitgrad.from_numpy(np.array(a)) for a in arrays]))]


def recorded(function: Callable[..., Any], *arrays: np.ndarray, requires_grad: bool = False) -> list[np.ndarray]:
    """The results of `function`, recorded into IR, verified and interpreted."""
    recording = Recording()
    outside = [jitgrad.from_numpy(np.array(a)) for a in arrays]
    if requires_grad:
        outside = [t.requires_grad_() if t.is_floating_point() else t for t in outside]
    state.recording = recording
    try:
        inside = [recording.stand_in(t, Argument(i), f"x{i}").tensor for i, t in enumerate(outside)]
        values = [recording.value(t) for t in tensors(function(*inside))]
    finally:
        state.recording = None
    f = recording.builder.finish("f", values)
    verify(f)
    sources = {s.initial: s for s in recording.stand_ins}
    results = interpret(f, [_array(sources[p]) for p in f.params])
    for draw in recording.generators.effects():
        draw.commit()
    return results


def _array(source: StandIn) -> np.ndarray:
    match source.source:
        case Key(generator):
            return np.array(generator.key)
        case Offset(generator):
            return np.array(generator.offset)
    return source.outside.detach().numpy()


def same(got: Sequence[np.ndarray], want: Sequence[Any], rtol: float = 2e-6) -> None:
    """Asserts equal dtypes, shapes and (to rounding) values; nan equals nan."""
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        w = np.asarray(w)
        assert g.dtype == w.dtype
        assert g.shape == w.shape
        exact = g.dtype.kind != "f"
        np.testing.assert_allclose(g, w, rtol=0 if exact else rtol, atol=0 if exact else 1e-6)


def check(function: Callable[..., Any], want: Any, *arrays: np.ndarray, rtol: float = 2e-6) -> None:
    """Asserts that `function` gives `want` (an array or several), eager and recorded."""
    listed = list(want) if isinstance(want, (tuple, list)) else [want]
    same(eager(function, *arrays), listed, rtol)
    same(recorded(function, *arrays), listed, rtol)


def check_gradient(function: Callable[..., Any], *arrays: np.ndarray) -> None:
    """Asserts that the gradient of `function`, eager and recorded, is that of central differences in float64."""
    arrays = tuple(a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays)
    wrt = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    rng = np.random.default_rng(7)
    weight = rng.standard_normal(eager(function, *arrays)[0].shape)

    def weighted(*xs: Tensor) -> Tensor:
        return (tensors(function(*xs))[0] * jitgrad.tensor(weight)).sum()

    def gradients(*xs: Tensor) -> tuple[Tensor, ...]:
        found = jitgrad.autograd.grad(weighted(*xs), [xs[i] for i in wrt], allow_unused=True)
        return tuple(jitgrad.zeros_like(xs[i]) if g is None else g for i, g in zip(wrt, found, strict=True))

    def leaves(*xs: Tensor) -> tuple[Tensor, ...]:
        return gradients(*[x.requires_grad_() if x.is_floating_point() else x for x in xs])

    want = [_differences(weighted, arrays, i) for i in wrt]
    for got in (eager(leaves, *arrays), recorded(gradients, *arrays, requires_grad=True)):
        for g, w in zip(got, want, strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-6, atol=1e-8)


def _differences(function: Callable[..., Tensor], arrays: Sequence[np.ndarray], i: int) -> np.ndarray:
    """Central differences of a scalar function with respect to argument i."""
    step, out = 1e-6, np.zeros(arrays[i].shape)
    for at in np.ndindex(*arrays[i].shape):
        values = []
        for sign in (1, -1):
            moved = [a.copy() for a in arrays]
            moved[i][at] += sign * step
            values.append(float(eager(function, *moved)[0]))
        out[at] = (values[0] - values[1]) / (2 * step)
    return out
