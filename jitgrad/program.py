"""`Program`: an IR function as an operation on tensors, compiled forward and backward.

A program is made once a signature. Called on tensors it runs native code and, where a gradient is needed,
adds one node to the autograd graph whose backward is native code too: the function is differentiated,
simplified and split by a minimum cut into a forward that returns results and residuals and a backward
that takes residuals and cotangents. The backward is compiled when it is first run,
once for each set of results that have a cotangent.

A backward under `create_graph=True` runs the gradient as a program of its own, over the inputs and the
cotangents, so gradients of any order are compiled.

Invariants: residuals and results are fresh arrays, but for results that overwrite an input in place; inputs that
the backward reads again are kept by reference and their version is checked.
Imports: `autograd.graph`, `locks`, `tensors`, `state`, `errors`, `ir`; `codegen` only when something is compiled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .autograd.graph import Edge, Node, Saved, gradient_edge, second_backward
from .errors import TraceError
from .ir.absent import without
from .ir.core import Function, Value
from .ir.differentiate import vjp
from .ir.interpreter import interpret
from .ir.ops import TABLE
from .ir.ops.record import Nondiff
from .ir.passes import run_pipeline, strip
from .ir.residuals import Source, Split, split
from .ir.types import TensorType
from .locks import cached
from .state import state
from .tensors import Tensor, make

if TYPE_CHECKING:
    from .codegen.executable import Executable

Strides = tuple[int, ...] | None
Given = tuple[bool, ...]  # of each differentiable result, whether there is a cotangent
Runner = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


def layout_of(array: np.ndarray) -> Strides:
    """Strides in elements; None for a contiguous array, the common case."""
    return None if array.flags.c_contiguous else tuple([s // array.itemsize for s in array.strides])


def readable(array: np.ndarray) -> np.ndarray:
    """`array`, or a contiguous copy where compiled code cannot read it as it lies (odd alignment)."""
    flags = array.flags
    if flags.aligned and (flags.c_contiguous or not any(s % array.itemsize for s in array.strides)):
        return array
    return np.array(array, order="C")


class Program:
    """See the module's header.

    function: recorded, straight-line. wrt: parameters that get a gradient. differentiable: results that
    have one. strides: of the parameters, in elements (None: contiguous). compiled: whether native code is
    made; otherwise the interpreter runs it (for recordings that serve one call only). writes: for results, by
    number, the parameter whose tensor they are written to; a backward keeps copies of such parameters as they
    were. in_place: whether compiled code may write them itself, into the arrays it is given, once nothing can fail
    any more. It does where they lie contiguously and no backward reads the result again.
    """

    def __init__(
        self,
        function: Function,
        wrt: Sequence[int],
        differentiable: Sequence[int],
        strides: Sequence[Strides],
        compiled: bool = True,
        writes: Mapping[int, int] | None = None,
        in_place: bool = True,
    ) -> None:
        self.writes = dict(writes or {})
        self.overwritten = frozenset(self.writes.values())
        self.in_place = in_place
        self.recorded = function
        self.wrt = tuple(wrt)
        self.differentiable = tuple(differentiable) if self.wrt else ()
        self.strides = tuple(strides)
        self.compiled = compiled
        self.compile_seconds = 0.0
        self._backwards: dict[Given, Backward] = {}
        self._gradients: dict[Given, Program] = {}

    @cached
    def node_class(self) -> type[ProgramNode]:
        """The class of this program's nodes, named after the function: `lossBackward`."""
        return type(f"{self.recorded.name}Backward", (ProgramNode,), {"__slots__": ()})

    @cached
    def result_types(self) -> tuple[TensorType, ...]:
        """The types of the differentiable results."""
        return tuple(self.recorded.result_types[r] for r in self.differentiable)

    @cached
    def kept_results(self) -> tuple[int, ...]:
        """The results that the backward reads again."""
        return tuple(i for kind, i in self.split.saved if kind == "result")

    @cached
    def reaches(self) -> tuple[int, ...]:
        """For each differentiable result, the members of `wrt` that a gradient can reach from it, as bits."""
        masks = {self.recorded.params[p]: 1 << k for k, p in enumerate(self.wrt)}
        for instr in self.recorded.instrs:
            op, args = TABLE[instr.op], instr.args
            if instr.op == "custom_grad":
                first = instr.attrs["results"]
                passing = args[first : first + instr.attrs["inputs"]]
            elif isinstance(op.derivative, Nondiff) or instr.op == "detach":
                passing = ()
            else:
                passing = tuple(a for i, a in enumerate(args) if op.vjp_rule(i) is not None)
            mask = 0
            for a in passing:
                mask |= masks.get(a, 0)
            if mask:
                masks.update((o, mask) for o in instr.outs if o.type.dtype.is_floating_point)
        return tuple(masks.get(self.recorded.results[r], 0) for r in self.differentiable)

    @cached
    def tells_cotangents(self) -> bool:
        """Whether a backward that the user wrote depends on which results have a cotangent."""
        return any(i.op == "custom_grad" and i.attrs["sets"] for i in self.recorded.instrs)

    @cached
    def used(self) -> frozenset[int]:
        """The parameters that the function reads at all."""
        read = _read(self.simplified)
        return frozenset(i for i, p in enumerate(self.simplified.params) if p in read)

    @cached
    def copied(self) -> frozenset[int]:
        """The parameters whose content a backward may read, but which are overwritten before."""
        return self.overwritten & self.used

    # -- stages

    @cached
    def simplified(self) -> Function:
        return run_pipeline(self.recorded)

    @cached
    def primal(self) -> Function:
        """The function alone, as it is compiled where no gradient is needed."""
        return run_pipeline(strip(self.recorded))

    @cached
    def joint(self) -> Function:
        """Forward and backward in one function; nothing steers a differentiation any more, so rules see all."""
        return run_pipeline(strip(vjp(self.simplified, self.wrt, self.differentiable)))

    @cached
    def split(self) -> Split:
        return split(self.joint, len(self.recorded.params), len(self.recorded.results))

    @cached
    def plain(self) -> Runner:
        """Runs the function alone: parameters to results."""
        return self._compile(lambda: self.primal, self.strides, self.overwrites())

    @cached
    def forward(self) -> Runner:
        """Runs the forward: parameters to results and residuals."""
        return self._compile(lambda: self.split.forward, self.strides, self.overwrites(self.kept_results))

    def overwrites(self, kept: Collection[int] = ()) -> dict[int, int]:
        """The results that compiled code writes into the memory of parameters, without those in `kept`."""
        f = self.recorded
        return {
            r: p for r, p in self.writes.items()
            if self.in_place and r not in kept and self.strides[p] is None and f.result_types[r] == f.params[p].type
        }

    @cached
    def _kept_strides(self) -> tuple[Strides, ...]:
        """The strides of the parameters as a backward finds them: copies are contiguous."""
        return tuple(None if i in self.copied else s for i, s in enumerate(self.strides))

    def backward(self, given: Given) -> Backward:
        """The backward: saved values and the `given` cotangents to gradients."""
        made = self._backwards.get(given)
        if made is None:
            made = self._backwards.setdefault(given, Backward(self, given))
        return made

    def gradient(self, given: Given) -> Program:
        """The gradients of `wrt` as a program over the parameters and the `given` cotangents."""
        made = self._gradients.get(given)
        if made is None:
            results = [r for r, there in zip(self.differentiable, given, strict=True) if there]
            made = self._gradients.setdefault(given, self._gradient(results))
        return made

    def _gradient(self, differentiable: Sequence[int]) -> Program:
        n, m = len(self.recorded.params), len(self.recorded.results)
        joint = vjp(self.simplified, self.wrt, differentiable)
        function = Function.straight(
            f"{self.recorded.name}_grad", joint.params, joint.instrs, joint.results[m:]
        )
        cts = range(n, n + len(differentiable))
        strides = (*self._kept_strides, *(None for _ in cts))
        return Program(function, (*self.wrt, *cts), range(len(self.wrt)), strides, self.compiled)

    def _compile(
        self, function: Callable[[], Function], strides: Sequence[Strides], overwrites: Mapping[int, int] | None = None
    ) -> Runner:
        started = time.perf_counter()
        made = function()
        if self.compiled:
            from .codegen.compiler import compile_function

            runner: Runner = compile_function(made, list(strides), overwrites)
        else:

            def runner(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
                return [np.array(a) for a in interpret(made, list(arrays))]

        self.compile_seconds += time.perf_counter() - started
        return runner

    def executables(self) -> Iterator[tuple[str, Executable]]:
        """What has been compiled so far: 'function', 'forward' and each 'backward'."""
        if not self.compiled:
            return
        for part, name in (("plain", "function"), ("forward", "forward")):
            if part in self.__dict__:
                yield name, self.__dict__[part]
        for backward in list(self._backwards.values()):
            if "run" in backward.__dict__:
                yield "backward", backward.__dict__["run"]

    def gradients(self) -> list[Program]:
        """The programs of gradients, made for backwards that were differentiated again."""
        return list(self._gradients.values())

    # -- running

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The results on `inputs`, one tensor a parameter; in the graph if a gradient is needed."""
        arrays = [readable(t._array) for t in inputs]  # type: ignore[arg-type]
        wanted = 0
        for k, i in enumerate(self.wrt):
            if inputs[i]._requires_grad:
                wanted |= 1 << k
        if not (wanted and self.differentiable):
            return [make(a) for a in self.plain(arrays)]
        kept = self.kept(inputs)
        out = self.forward(arrays)
        n = len(self.recorded.results)
        results = [make(a) for a in out[:n]]
        node = self.node_class(self, inputs, kept, results, out[n:])
        for number, r in enumerate(self.differentiable):
            if self.reaches[number] & wanted:
                t = results[r]
                t._node, t._output_nr, t._requires_grad = node, number, True
        return results

    def kept(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """The inputs as a backward will read them: copies of those that are about to be written to."""
        if not self.copied:
            return inputs
        return [_copy(t) if i in self.copied else t for i, t in enumerate(inputs)]


class Backward:
    """A program's backward for some of its results: `given` says for which."""

    def __init__(self, program: Program, given: Given) -> None:
        self._program = program
        self._given = given

    @cached
    def _whole(self) -> Function:
        split = self._program.split
        absent = [len(split.saved) + i for i, there in enumerate(self._given) if not there]
        return run_pipeline(without(split.backward, absent)) if absent else split.backward

    @cached
    def reads(self) -> tuple[Source, ...]:
        """What it reads of the saved values: where each comes from."""
        saved, read = self._program.split.saved, _read(self._whole)
        return tuple(source for source, p in zip(saved, self._whole.params, strict=False) if p in read)

    @cached
    def run(self) -> Runner:
        """Runs it: what it reads and the given cotangents to gradients."""
        f, n = self._whole, len(self._program.split.saved)
        read = _read(f)
        params = (*(p for p in f.params[:n] if p in read), *f.params[n:])
        strides = [self._program._kept_strides[i] if kind == "param" else None for kind, i in self.reads]
        return self._program._compile(
            lambda: Function.straight(f.name, params, f.instrs, f.results), strides + [None] * sum(self._given)
        )


def _read(f: Function) -> set[Value]:
    """The values that the function reads."""
    return {a for instr in f.instrs for a in instr.args}.union(f.results)


def _copy(t: Tensor) -> Tensor:
    copy = make(np.array(t._array, order="C"))
    copy._requires_grad = t._requires_grad
    return copy


class ProgramNode(Node):
    """The compiled backward of one call of a program.

    A backward from some of the results frees what it read. A later one, from others, may still run, as eagerly: unless
    it needs something of that.
    """

    __slots__ = ("_done", "_inputs", "_last", "_program", "_residuals", "_results")

    def __init__(
        self,
        program: Program,
        inputs: Sequence[Tensor],
        kept: Sequence[Tensor],
        results: Sequence[Tensor],
        residuals: list[np.ndarray],
    ) -> None:
        edges: list[Edge | None] = [gradient_edge(t) for t in inputs]
        super().__init__([edges[i] for i in program.wrt], program.result_types)
        self._program = program
        self._residuals: list[np.ndarray | None] = [*residuals]
        self._inputs = tuple([Saved(t, e) for t, e in zip(kept, edges, strict=True)])
        self._results = {i: Saved(results[i], None) for i in program.kept_results}
        self._last = self._done = (False,) * len(program.differentiable)  # results: of the last backward, of freed ones

    @property
    def released(self) -> bool:
        """Whether a backward freed anything."""
        return any(self._done)

    def pull(self, domain: Any, cts: list[Any], wanted: Sequence[bool]) -> Sequence[Any]:
        self._last = _given(cts)
        self._check_there()
        if domain.records_graph:
            return self._pull_with_graph(cts)
        if state.recording is not None:
            raise TraceError(
                "backward inside a traced function reached the graph of another traced call, made outside of it",
                hint="call the function inside the traced function, or call backward outside",
            )
        there = [np.asarray(ct, order="C") for ct in cts if ct is not None]
        if self._program.tells_cotangents and len(there) < len(cts):
            gradient = self._again(cts)
            arrays = [readable(saved.payload) for saved in self._inputs]  # type: ignore[arg-type]
            return self._reached(cts, gradient.plain([*arrays, *there]))
        backward = self._program.backward(self._last)
        return self._reached(cts, backward.run([*self._saved(backward.reads), *there]))

    def _check_there(self) -> None:
        """Raise where an earlier backward freed what one from these results needs."""
        if not self.released:
            return
        reads = self._program.backward(self._last).reads
        again = reads and any(was and now for was, now in zip(self._done, self._last, strict=True))
        if again or all(self._done) or any(k == "residual" and self._residuals[i] is None for k, i in reads):
            raise second_backward()

    def _again(self, cts: Sequence[Any]) -> Program:
        """The program that computes the gradient of `cts` from the inputs, which are as they were."""
        gradient = self._program.gradient(_given(cts))
        for i in gradient.used:
            if i < len(self._inputs):
                self._inputs[i].check()
        return gradient

    def _reached(self, cts: list[Any], grads: Sequence[Any]) -> list[Any]:
        """`grads` where a result with a cotangent depends on the input; None elsewhere, as eager has it."""
        mask = 0
        for ct, reached in zip(cts, self._program.reaches, strict=True):
            if ct is not None:
                mask |= reached
        return [g if mask >> k & 1 else None for k, g in enumerate(grads)]

    def _saved(self, sources: Sequence[Source]) -> list[np.ndarray]:
        arrays: list[Any] = []
        for kind, i in sources:
            if kind == "residual":
                arrays.append(self._residuals[i])
                continue
            saved = self._inputs[i] if kind == "param" else self._results[i]
            saved.check()
            arrays.append(readable(saved.payload))  # type: ignore[arg-type]
        return arrays

    def _pull_with_graph(self, cts: list[Any]) -> list[Any]:
        gradient = self._again(cts)
        inputs = [saved.tensor() for saved in self._inputs]
        return self._reached(cts, gradient([*inputs, *(contiguous(ct) for ct in cts if ct is not None)]))

    def release(self) -> None:
        reads = self._program.backward(self._last).reads
        if not reads:
            return
        self._done = tuple([was or now for was, now in zip(self._done, self._last, strict=True)])
        for kind, i in reads:
            if kind == "residual":
                self._residuals[i] = None
        if all(self._done):
            self._inputs, self._results = (), {}


def _given(cts: Sequence[Any]) -> Given:
    return tuple([ct is not None for ct in cts])


def contiguous(t: Tensor) -> Tensor:
    """`t` laid out contiguously, in its place in the graph."""
    if t._array.flags.c_contiguous:  # type: ignore[union-attr]
        return t
    from .functional.shaping import contiguous as copy

    return copy(t)
