"""`gradcheck` and `gradgradcheck`: analytical gradients against central differences.

The Jacobian of every differentiable output with respect to every input that requires grad is computed
twice, by `autograd.grad` row by row and by perturbing each input element in place, and the two are
compared. Jacobians are arrays of shape (input elements, output elements), as torch prints them.

Imports: `engine`, `tensors`, `ir.types`, numpy.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..ir.types import TensorType, f64
from ..tensors import Tensor, concrete, make
from .engine import grad

Func = Callable[..., Any]


class GradcheckError(RuntimeError):
    """A gradient that is not what finite differences say."""


def gradcheck(
    func: Func,
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
) -> bool:
    """Whether the gradients of `func(*inputs)` agree with central differences of step `eps`.

    inputs: the arguments; the tensors among them that require grad are checked and should be float64.
    func returns a tensor or a sequence of tensors. An entry passes if |analytical - numerical| <= atol +
    rtol * |numerical|. nondet_tol: how far two backward runs may differ. check_undefined_grad: also
    differentiate with the gradients of all outputs but one undefined instead of zero. check_grad_dtypes:
    a gradient must have its input's dtype.

    Raises GradcheckError (a RuntimeError) where a check fails, or returns False with raise_exception=False;
    ValueError if no input requires grad or an input overlaps itself in memory; NotImplementedError for
    check_batched_grad, which needs vmap.
    """
    if check_batched_grad:
        raise NotImplementedError("gradcheck: check_batched_grad needs vmap, which jitgrad does not have")
    args = _listed(inputs)
    checked = _checked_inputs(args)
    try:
        _check(func, args, checked, eps, atol, rtol, nondet_tol, check_undefined_grad, check_grad_dtypes)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Func,
    inputs: Tensor | Sequence[Any],
    grad_outputs: Tensor | Sequence[Tensor] | None = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
) -> bool:
    """Whether the second derivatives of `func` agree with central differences of its first.

    grad_outputs: cotangents of the differentiable outputs, which are differentiated with respect to as
    well; by default uniform random ones in [-1, 1), the same at each call, laid out with gaps in memory
    where gen_non_contig_grad_outputs asks for it. The other arguments and errors are those of `gradcheck`.
    """
    args = _listed(inputs)
    if grad_outputs is None:
        cts = _random_cotangents(_differentiable(func(*args)), gen_non_contig_grad_outputs)
    else:
        cts = tuple(_listed(grad_outputs))
    count = len(args)

    def gradients(*both: Any) -> tuple[Tensor, ...]:
        outputs = _differentiable(func(*both[:count]))
        wrt = [a for a in both[:count] if _is_checked(a)]
        found = grad(outputs, wrt, both[count:], create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(
        gradients, (*args, *cts), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception,
        nondet_tol=nondet_tol, check_undefined_grad=check_undefined_grad, check_grad_dtypes=check_grad_dtypes,
        check_batched_grad=check_batched_grad,
    )


# -- inputs and outputs


def _listed(values: Any) -> tuple[Any, ...]:
    return tuple(values) if isinstance(values, (tuple, list)) else (values,)


def _is_checked(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _differentiable(returned: Any) -> tuple[Tensor, ...]:
    return tuple(t for t in _listed(returned) if _is_checked(t))


def _checked_inputs(args: Sequence[Any]) -> list[Tensor]:
    checked = []
    for i, t in enumerate(args):
        if not _is_checked(t):
            continue
        if t.dtype is not f64:
            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating point. This check will "
                "likely fail if all the inputs are not of double precision floating point.", stacklevel=3,
            )
        array = concrete(t, "gradcheck()")
        layout = zip(array.strides, array.shape, strict=True)
        if array.size and any(stride == 0 and size > 1 for stride, size in layout):
            raise ValueError(
                f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs that are "
                "non-overlapping to be able to compute the numerical gradients correctly. You should call "
                ".contiguous on the input before passing it to gradcheck."
            )
        if not array.flags.writeable:
            raise ValueError(f"The {i}th input is read-only memory, and gradcheck perturbs its inputs in place.")
        checked.append(t)
    if not checked:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them have "
            "requires_grad=True."
        )
    return checked


def _random_cotangents(outputs: Sequence[Tensor], gaps: bool) -> tuple[Tensor, ...]:
    rng = np.random.default_rng(0)
    cts = []
    for t in outputs:
        values = rng.uniform(-1.0, 1.0, (*t.shape, 2)).astype(t.dtype.numpy)[..., 0]
        cts.append(make(values if gaps else values.copy()).requires_grad_())
    return tuple(cts)


# -- the check


def _check(
    func: Func, args: Sequence[Any], checked: Sequence[Tensor], eps: float, atol: float, rtol: float,
    nondet_tol: float, undefined: bool, dtypes: bool,
) -> None:
    outputs = _differentiable(func(*args))
    if not outputs:
        _check_constant(func, args, checked, eps, atol)
        return
    _check_repeats(func, args, outputs, nondet_tol)
    numerical = [_numerical_jacobians(func, args, t, len(outputs), eps) for t in checked]
    for o in range(len(outputs)):
        analytical = _analytical_jacobians(outputs, o, checked, dtypes)
        again = _analytical_jacobians(outputs, o, checked, dtypes)
        for i, (ours, second) in enumerate(zip(analytical, again, strict=True)):
            expected = numerical[i][o]
            if not np.allclose(ours, expected, rtol, atol):
                raise GradcheckError(
                    f"Jacobian mismatch for output {o} with respect to input {i},\n"
                    f"numerical:{expected}\nanalytical:{ours}\n"
                )
            if not np.allclose(ours, second, 0.0, nondet_tol):
                raise GradcheckError(
                    "Backward is not reentrant, i.e., running backward with same input and grad_output multiple "
                    "times gives different values, although analytical gradient matches numerical gradient. The "
                    f"tolerance for nondeterminism was {nondet_tol}."
                )
        if undefined:
            _check_undefined(outputs, o, checked, atol, rtol)


def _analytical_jacobians(
    outputs: Sequence[Tensor], o: int, checked: Sequence[Tensor], dtypes: bool
) -> list[np.ndarray]:
    """The Jacobian of output `o` with respect to each input, one backward run an element."""
    size = outputs[o].type_.size
    jacobians = [np.zeros((t.type_.size, size), t.dtype.numpy) for t in checked]
    cts = [np.zeros(t.shape, t.dtype.numpy) for t in outputs]
    for k in range(size):
        cts[o].flat[k] = 1
        found = grad(outputs, checked, [make(c.copy()) for c in cts], retain_graph=True, allow_unused=True)
        cts[o].flat[k] = 0
        for jacobian, gradient, t in zip(jacobians, found, checked, strict=True):
            if gradient is not None:
                _check_gradient_type(gradient.type_, t.type_, dtypes)
                jacobian[:, k] = gradient._array.reshape(-1)
    return jacobians


def _check_gradient_type(got: TensorType, want: TensorType, dtypes: bool) -> None:
    if got.shape != want.shape:
        raise GradcheckError(f"Analytical gradient has incorrect size: {got} for an input {want}")
    if dtypes and got.dtype is not want.dtype:
        raise GradcheckError(f"Gradient has dtype {got.dtype}, but its input has {want.dtype}")


def _numerical_jacobians(
    func: Func, args: Sequence[Any], t: Tensor, outputs: int, eps: float
) -> list[np.ndarray]:
    """The Jacobian of each differentiable output with respect to `t`, two evaluations an element of `t`."""
    array = concrete(t, "gradcheck()")
    rows: list[list[np.ndarray]] = []
    for place in np.ndindex(array.shape):
        original = array[place]
        try:
            array[place] = original + eps
            above, high = array[place], _values(func, args)
            array[place] = original - eps
            below, low = array[place], _values(func, args)
        finally:
            array[place] = original
        step = np.float64(above) - np.float64(below)  # 2 * eps but for the rounding of the input
        if len(high) != outputs or len(low) != outputs:
            raise GradcheckError(
                f"the function returned {outputs} differentiable outputs, and {len(high)} and {len(low)} after an "
                "input was perturbed"
            )
        rows.append([(a - b).reshape(-1) / step for a, b in zip(high, low, strict=True)])
    if not rows:
        return [np.zeros((0, v.size)) for v in _values(func, args)]
    return [np.stack([row[o] for row in rows]) for o in range(outputs)]


def _values(func: Func, args: Sequence[Any]) -> list[np.ndarray]:
    """Copies of the differentiable outputs, for the function may return its own input."""
    return [concrete(t, "gradcheck()").astype(np.float64) for t in _differentiable(func(*args))]


def _check_constant(func: Func, args: Sequence[Any], checked: Sequence[Tensor], eps: float, atol: float) -> None:
    """With no output that requires grad, the outputs must not depend on the inputs that do."""
    def tensors() -> list[np.ndarray]:
        results = [t for t in _listed(func(*args)) if isinstance(t, Tensor) and t.dtype.is_floating_point]
        return [concrete(t, "gradcheck()").astype(np.float64) for t in results]

    before = tensors()
    for t in checked:
        array = concrete(t, "gradcheck()")
        for place in np.ndindex(array.shape):
            original = array[place]
            try:
                array[place] = original + eps
                after = tensors()
            finally:
                array[place] = original
            if not all(np.allclose((a - b) / eps, 0.0, 0.0, atol) for a, b in zip(after, before, strict=True)):
                raise GradcheckError("Numerical gradient for function expected to be zero")


def _check_undefined(
    outputs: Sequence[Tensor], o: int, checked: Sequence[Tensor], atol: float, rtol: float
) -> None:
    """A gradient that is undefined must count as zeros."""
    if len(outputs) == 1:
        return
    ct = [make(np.ones(t.shape, t.dtype.numpy) if i == o else np.zeros(t.shape, t.dtype.numpy))
          for i, t in enumerate(outputs)]
    defined = grad(outputs, checked, ct, retain_graph=True, allow_unused=True)
    words = (
        "Expected backward function to handle undefined output grads: gradients that are None must count as zeros"
    )
    try:
        found = grad(outputs[o], checked, ct[o], retain_graph=True, allow_unused=True)
    except (TypeError, AttributeError) as error:  # what an operation on None raises
        raise GradcheckError(words) from error
    for a, b in zip(found, defined, strict=True):
        ours, zeros = (0.0 if g is None else g._array for g in (a, b))
        if not np.allclose(ours, zeros, rtol, atol):
            raise GradcheckError(words)


def _check_repeats(func: Func, args: Sequence[Any], outputs: Sequence[Tensor], nondet_tol: float) -> None:
    for first, second in zip(outputs, _values(func, args), strict=True):
        if not np.allclose(concrete(first, "gradcheck()"), second, 0.0, nondet_tol, equal_nan=True):
            raise GradcheckError(
                "the function is not deterministic: two calls with the same inputs gave different values. The "
                f"tolerance for nondeterminism was {nondet_tol}."
            )
