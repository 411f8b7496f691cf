"""Nested tuples, lists, dicts and dataclasses of leaves: taken apart and put together again.

`flatten` gives the leaves in order and a hashable description of the structure; `unflatten` inverts it;
`paths` names the leaves as Python would reach them (`params['w'][0]`). Dict order counts, as in Python, and the keys
1, 1.0 and True are three.

Imports: `exact`.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .exact import Keys

MOST_KINDS = 256  # classes whose parts are remembered
DEEPEST = 256  # containers in each other
LEAF = None  # the structure of a leaf
Structure = Any  # LEAF, or (type, keys, tuple of structures); hashable
Parts = tuple[Any, Iterable[Any]]  # keys, and the children in their order


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """The leaves of `tree` in order, and its structure. Raises ValueError for one that nests deeper than DEEPEST, or
    without end."""
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves, DEEPEST)


def containers(tree: Any) -> list[Any]:
    """The containers in `tree` that can be changed, in an order that depends on its structure alone."""
    found, stack = [], [tree]
    while stack:
        x = stack.pop()
        parts = _parts(type(x))
        if parts is not _no_parts:
            if not isinstance(x, tuple):
                found.append(x)
            stack.extend(parts(x)[1])
    return found


def _parts(kind: type) -> Callable[[Any], Parts]:
    parts = _PARTS.get(kind)
    if parts is None:
        if len(_PARTS) >= MOST_KINDS:  # it keeps classes alive; weak keys would cost every leaf of every call
            _PARTS.clear()
        parts = _PARTS[kind] = _parts_of(kind)
    return parts


def _flatten(tree: Any, leaves: list[Any], depth: int) -> Structure:
    kind = type(tree)
    parts = _parts(kind)
    if parts is _no_parts:
        leaves.append(tree)
        return LEAF
    if not depth:
        raise too_deep(tree)
    keys, children = parts(tree)
    return (kind, keys, tuple([_flatten(x, leaves, depth - 1) for x in children]))


def too_deep(tree: Any) -> ValueError:
    """The error for a container that lies deeper than DEEPEST."""
    return ValueError(
        f"a {type(tree).__name__} lies in {DEEPEST} other containers, or in itself: arguments and results of traced "
        f"functions nest up to {DEEPEST} deep"
    )


def _no_parts(tree: Any) -> Parts:
    """The way to take a leaf apart: never called, but known by identity."""
    raise AssertionError


def _sequence(tree: Any) -> Parts:
    return len(tree), tree


def _mapping(tree: Any) -> Parts:
    for key in tree:
        if type(key) is not str:
            return Keys(tree), tree.values()
    return tuple(tree), tree.values()


def _fields(tree: Any) -> Parts:
    names = tuple(f.name for f in dataclasses.fields(tree))
    return names, [getattr(tree, n) for n in names]


def _parts_of(kind: type) -> Callable[[Any], Parts]:
    """How objects of type `kind` are taken apart; subclasses of list and dict are leaves."""
    if kind is list or kind is tuple or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
        return _sequence
    if kind is dict or kind is OrderedDict:
        return _mapping
    return _fields if dataclasses.is_dataclass(kind) else _no_parts


_PARTS: dict[type, Callable[[Any], Parts]] = {}


def unflatten(structure: Structure, leaves: list[Any]) -> Any:
    """The tree of `structure` with `leaves` in place."""
    return _unflatten(structure, iter(leaves))


def _unflatten(structure: Structure, leaves: Iterator[Any]) -> Any:
    if structure is LEAF:
        return next(leaves)
    kind, keys, parts = structure
    children = [_unflatten(p, leaves) for p in parts]
    if kind is tuple or kind is list:
        return kind(children)
    if kind is dict or kind is OrderedDict:
        return kind(zip(keys, children, strict=True))
    if isinstance(keys, int):
        return kind(*children)
    made = object.__new__(kind)  # a dataclass, without running its __init__ or __post_init__ again
    for name, child in zip(keys, children, strict=True):
        object.__setattr__(made, name, child)
    return made


def tree_map(f: Callable[[Any], Any], tree: Any) -> Any:
    """`tree` with `f` applied to every leaf."""
    leaves, structure = flatten(tree)
    return unflatten(structure, [f(x) for x in leaves])


def paths(structure: Structure, root: str = "") -> list[str]:
    """A name for every leaf, in order: `root`, `root[0]`, `root['w']`, `root.weight`."""
    if structure is LEAF:
        return [root]
    kind, keys, parts = structure
    if isinstance(keys, int):
        fields = getattr(kind, "_fields", None)
        names = [f".{f}" for f in fields] if fields else [f"[{i}]" for i in range(keys)]
    elif kind is dict or kind is OrderedDict:
        names = [f"[{k!r}]" for k in keys]
    else:
        names = [f".{k}" for k in keys]
    return [p for name, part in zip(names, parts, strict=True) for p in paths(part, root + name)]
