"""Results that replace parameters, written straight into the parameters' memory where that is safe.

A result that overwrites a parameter is computed in its memory (`direct`) where
  - every kernel that reads the old content runs before the first that writes, or reads each element at the very
    step that writes it, and never after (`rewrites_in_step`);
  - every kernel that can fail runs before, so that a program that fails has written to nothing.
The order of kernels that this asks for is added to the graph of groups; where it cannot be had, the result is a
temporary, and it, or the parts of it that change, are copied at the end of the program (`copy_back`). What only
copies elements of the parameter to themselves (what a scatter or an assignment to a slice leaves as it is) is not
done at all (`elided`), nor is adding -0.0 to all of them (`skip_idle`).

Imports: `items`, `groups`, `inline`, `kernel`, `prepare`, `views`.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import views
from .groups import Group, Grouping
from .inline import leaves
from .items import Item, Root, fails
from .kernel import ELEMENT, KERNEL, Access, Buffer, Contraction, LoopKernel, Node, Phase, Store
from .prepare import Program
from .views import View


@dataclass(eq=False, slots=True)
class Overwrite:
    """A result and the parameter it replaces. `writers`: what writes to its memory; `elided`: what would leave
    elements as they are. `direct`: done in place, as far as the order of kernels goes, which they then have. Else,
    where `in_windows`, the writers alone write to a temporary, and their windows alone are copied."""

    result: Root
    param: Root
    writers: list[Item]
    elided: list[Item]
    direct: bool = False
    in_windows: bool = False


def plan(program: Program, grouping: Grouping) -> list[Overwrite]:
    """The overwrites of the program."""
    found = [_overwrite(program.results[r], program.params[p]) for r, p in program.overwrites.items()]
    if not found:
        return []
    home: dict[Item, Group] = {}
    readers: dict[Root, dict[Group, None]] = {o.param: {} for o in found}
    failing: list[Group] = []
    read: set[Root] = set()
    elided = {item for o in found for item in o.elided}
    for group in grouping.groups.values():
        for item in group.items():
            home[item] = group
            if item not in elided:
                for ref in leaves(item.args):
                    read.add(ref.root)
                    if ref.root in readers:
                        readers[ref.root][group] = None
        if can_fail(group):
            failing.append(group)
    for o in found:
        o.direct = _ordered(grouping, o, home, readers[o.param], failing)
        o.in_windows = o.result not in read and all(item.window is not None for item in o.writers)
    return found


def can_fail(group: Group) -> bool:
    return any(fails(item.op, item.out.dtype) for item in group.items())


def _overwrite(result: Root, param: Root) -> Overwrite:
    made = Overwrite(result, param, [], [])
    root: Root | None = result
    while root is not None:
        for item in root.producers():
            (made.elided if _keeps(item, param) else made.writers).append(item)
        root = root.alias
    return made


def _keeps(item: Item, param: Root) -> bool:
    """Whether an item copies elements of `param` to where they are."""
    if item.op != "copy" or item.kind != "map" or item.args[0].root is not param:
        return False
    return item.args[0].view == (item.window or views.identity(item.size))


def _ordered(
    grouping: Grouping, o: Overwrite, home: dict[Item, Group], readers: dict[Group, None], failing: list[Group]
) -> bool:
    """Let what reads the parameter, and what can fail, run before what writes, if that may be."""
    writers = list(dict.fromkeys(home[item] for item in o.writers))
    if any(w in failing or _is_operand(w, o.param) for w in writers):
        return False
    before = [g for g in dict.fromkeys((*readers, *failing)) if g not in writers]
    if any(g.before & w.bits for g in before for w in writers):
        return False
    for w in writers:
        grouping.wait(w, before)
    return True


def _is_operand(group: Group, param: Root) -> bool:
    """Whether the group's call reads the parameter as a whole."""
    return group.call is not None and any(ref.root is param for ref in leaves(group.call.args))


def rewrites_in_step(kernel: LoopKernel | Contraction, buffer: Buffer) -> bool:
    """Whether each element of `buffer`, to which the kernel writes, is read only at the step that writes it and not
    after, however the steps are walked: the last vector of a row may do some again, but stores only new lanes."""
    if isinstance(kernel, Contraction):
        wanted = {s.access for s in kernel.stores if s.access.buffer is buffer}
        return buffer not in (kernel.left.buffer, kernel.right.buffer) and wanted >= {
            n.access for n in kernel.body if n.access is not None and n.access.buffer is buffer
        }
    plain: dict[Access, int] = {}
    for number, phase in enumerate(kernel.phases):
        for row, stores in ((True, phase.row_stores), (False, phase.stores)):
            for store in stores:
                if store.access.buffer is not buffer:
                    continue
                if store.combine or store.total:
                    if _reads(kernel, buffer):
                        return False
                elif _stands_still(kernel, store, row):
                    return False
                else:
                    plain[store.access] = number
    for number, nodes in ((-1, kernel.prologue), *((k, [*p.row, *p.body]) for k, p in enumerate(kernel.phases))):
        for node in nodes:
            if node.op != "load" or node.access is None or node.access.buffer is not buffer:
                continue
            if node.args or number > plain.get(node.access, -2):
                return False
            if node.level == ELEMENT and number == plain[node.access] and _counts_twice(kernel.phases[number]):
                return False
    return True


def _reads(kernel: LoopKernel, buffer: Buffer) -> bool:
    return any(n.op == "load" and n.access is not None and n.access.buffer is buffer for n in kernel.nodes())


def _stands_still(kernel: LoopKernel, store: Store, row: bool) -> bool:
    """Whether steps of the kernel write one element over and over."""
    outer = store.access.strides[: len(kernel.outer)]
    moving = outer if row else store.access.strides
    return not all(moving) or (row and not outer and bool(kernel.inner))


def _counts_twice(phase: Phase) -> bool:
    """Whether the phase accumulates what an element that is done again would change."""
    ops = [r.attrs["op"] for r in phase.reductions] + [s.combine for s in phase.stores if s.combine]
    return any(op not in ("sum", "prod") for op in ops)


def skip_idle(kernel: LoopKernel) -> None:
    """Let a kernel that only adds one scalar to floats in place do nothing where that is -0.0."""
    stores = kernel.stores()
    if len(stores) != 1 or len(kernel.phases) != 1 or stores[0].combine or stores[0].total:
        return
    made, access = stores[0].node, stores[0].access
    if made.op != "add" or not made.dtype.is_floating_point:
        return
    old, scalar = made.args if made.args[0].op == "load" and made.args[0].access == access else made.args[::-1]
    if old.op == "load" and not old.args and old.access == access and scalar.level == KERNEL:
        kernel.unless = scalar


def copy_back(o: Overwrite, source: Buffer, target: Buffer) -> list[LoopKernel]:
    """The kernels that copy what was written to `source` to `target`."""
    if not o.in_windows:
        return [_copied(source, target, views.identity(target.size))]
    return [_copied(source, target, item.window) for item in o.writers if item.window is not None]


def _copied(source: Buffer, target: Buffer, window: View) -> LoopKernel:
    sizes, steps = tuple(n for n, _ in window.axes), tuple(s for _, s in window.axes)
    level = ELEMENT if sizes else KERNEL
    each = Node("load", (), {}, source.dtype, level, access=Access(source, window.offset, steps))
    store = Store(each, Access(target, window.offset, steps))
    body, once = ([each], []) if sizes else ([], [each])
    return LoopKernel(sizes[:-1], sizes[-1:], once, [Phase(body=body, stores=[store])])
