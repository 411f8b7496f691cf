"""Random programs, eager and traced: results, sharing, effects, gradients and errors are the same.

`JITGRAD_FUZZ=N` runs N examples of new seeds instead of the fixed few.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from programs import STEP_ERRORS, Program, programs
from traced import check_stages

import jitgrad
from jitgrad import Tensor
from jitgrad.errors import BoundsError, DivisionByZero, TraceError

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("JITGRAD_FUZZ", "0"))
FUZZ = settings(
    max_examples=EXAMPLES or 150,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def value(t: Tensor) -> tuple[str, np.ndarray]:
    return (f"{t.dtype}{list(t.shape)} grad={t.requires_grad} leaf={t.is_leaf}", t.detach().numpy().copy())


def attempt(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except STEP_ERRORS as error:
        return type(error).__name__


class Run:
    """Everything that can be seen of calls of one function on inputs made from one seed."""

    def __init__(self, program: Program, seed: int) -> None:
        self.program = program
        rng = np.random.default_rng(seed)
        made = [i.make(rng) for i in (*program.arguments, *program.captures)]
        self.leaves = [leaf for _, leaf in made]
        count = len(program.arguments)
        self.arguments = [t for t, _ in made[:count]]
        if program.same:
            self.arguments.append(self.arguments[0])
        self.captures = [t for t, _ in made[count:]]
        self.number = seed / 4 - 0.125
        self.rng = rng
        self.facts: list[tuple[str, Any]] = []

    def renew(self, seed: int) -> None:
        """Other arguments; the captures stay."""
        other = Run(self.program, seed)
        count = len(self.program.arguments)
        self.leaves[:count] = other.leaves[:count]
        self.arguments, self.number, self.rng = other.arguments, other.number, other.rng

    def call(self, function: Callable[..., Any]) -> None:
        returned = function(self.arguments, self.number)
        self.facts.append(("errors", returned["errors"]))
        self.results = returned["results"]
        self.look("after the call")

    def everything(self) -> list[Tensor]:
        grads = [t.grad for t in (*self.leaves, *self.arguments) if t.is_leaf and t.grad is not None]
        return [*self.results, *self.arguments, *self.captures, *self.leaves, *grads]

    def look(self, when: str) -> None:
        all_ = self.everything()
        same = [[a is b for b in all_] for a in all_]
        shared = [[np.may_share_memory(a._array, b._array) and bool(a._array.size) for b in all_] for a in all_]
        self.facts += [(f"{when}: identity", same), (f"{when}: sharing", shared)]
        self.facts += [(f"{when}: tensor {i}", value(t)) for i, t in enumerate(all_)]
        self.facts.append((f"{when}: generator", jitgrad.rng.default_generator.offset))

    def differentiate(self) -> None:
        roots = [r for r in self.results if r.requires_grad]
        leaves = [t for t in self.leaves if t.requires_grad]
        if not roots or not leaves:
            return
        cts = [jitgrad.tensor(self.rng.integers(-8, 9, r.shape) / 8).to(r.dtype) for r in roots]
        grads = attempt(lambda: self._grads(roots, leaves, cts, create_graph=True))
        self.note("gradient", grads)
        if isinstance(grads, str):
            return
        again = [g for g in grads if g is not None and g.requires_grad]
        second: Any = [None] * len(leaves)
        if again:
            second = attempt(lambda: self._grads(again, leaves, [g * 0.5 for g in again]))
        if not isinstance(second, str):  # nothing and zero are the same here: rewriting finds that there is nothing
            second = [jitgrad.zeros_like(x) if g is None else g for g, x in zip(second, leaves, strict=True)]
        self.note("second", second)
        attempt(lambda: jitgrad.autograd.backward(roots, cts))
        self.look("after backward")

    def _grads(self, roots: Any, leaves: Any, cts: Any, create_graph: bool = False) -> Any:
        return jitgrad.autograd.grad(
            roots, leaves, cts, allow_unused=True, retain_graph=True, create_graph=create_graph
        )

    def note(self, what: str, grads: Any) -> None:
        if isinstance(grads, str):
            self.facts.append((what, grads))
        else:
            self.facts += [
                (f"{what} {i}", None if g is None else ("", g.detach().numpy().copy())) for i, g in enumerate(grads)
            ]

    def write_to_results(self) -> None:
        for i, r in enumerate(self.results):
            with jitgrad.no_grad():
                self.facts.append((f"write {i}", attempt(lambda r=r: (r.add_(1), None)[1])))
        self.look("after writes")


def observe(program: Program, seed: int, wrap: Callable[..., Any], mode: int) -> list[tuple[str, Any]]:
    """The facts of three calls, the first two on the same values. `mode` says in which calls gradients are taken."""
    jitgrad.manual_seed(seed)
    run = Run(program, seed)
    function = wrap(program.function(run.captures))
    for call in range(3):
        run.call(function)
        if (mode + call) % 2:
            run.differentiate()
        run.write_to_results()
        run.renew(seed + call)
    return run.facts


def assert_same(plain: list[tuple[str, Any]], traced: list[tuple[str, Any]], tolerance: float = 2e-4) -> None:
    for (what, a), (also, b) in zip(plain, traced, strict=False):
        if (what, a) == ("gradient", "RuntimeError") and b != a:
            return  # what a backward frees in eager a compiled one may have had no need to save
        if (also, b) == ("gradient", "InplaceError") and b != a:
            return  # one node for the whole call: what one result's gradient needs is checked for all
        assert what == also
        _assert_same_fact(what, a, b, tolerance)
    assert len(plain) == len(traced)


def _assert_same_fact(what: str, a: Any, b: Any, tolerance: float) -> None:
    if isinstance(a, tuple) and isinstance(b, tuple) and isinstance(a[1], np.ndarray):
        assert a[0] == b[0], what
        x, y = a[1], b[1]
        scale = float(np.max(np.abs(x), where=np.isfinite(x), initial=1.0)) if x.dtype.kind == "f" else 0.0
        atol = scale * tolerance
        np.testing.assert_allclose(y.astype(float), x.astype(float), rtol=0, atol=atol, err_msg=what)
    else:
        assert a == b, what


def traced_facts(program: Program, seed: int, mode: int) -> list[tuple[str, Any]] | None:
    """The facts of the traced program; None where tracing refuses it."""
    made: list[Any] = []

    def wrap(function: Any) -> Any:
        made.append(jitgrad.trace(function))
        return made[-1]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            facts = observe(program, seed, wrap, mode)
        except (TraceError, BoundsError, DivisionByZero):  # the last two come from the program, too late to catch
            return None
    for p in made[0].programs:
        check_stages(p)
    return facts


@FUZZ
@given(program=programs)
def test_a_traced_program_is_the_eager_program(program):
    seed = 1 + len(program.steps)
    plain = observe(program, seed, lambda f: f, seed)
    traced = traced_facts(program, seed, seed)
    if traced is not None:
        assert_same(plain, traced, program.tolerance)
    assert jitgrad.state.state.recording is None


def test_most_programs_are_traced():
    """The property above would hold too if everything were refused."""
    traced = refused = 0

    @settings(FUZZ, max_examples=60, derandomize=True)
    @given(program=programs)
    def count(program):
        nonlocal traced, refused
        if traced_facts(program, 3, 0) is None:
            refused += 1
        else:
            traced += 1

    count()
    assert refused < traced / 4, (refused, traced)


if __name__ == "__main__":
    pytest.main([__file__])
