"""Attributes of objects, read without running any code of the user's (`__getattr__`, properties).

Imports: the standard library.
"""

from __future__ import annotations

import threading
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

_MODULE: Any = type.__dict__["__module__"]


def variables_of(x: Any) -> dict[str, Any] | None:
    """The dict of the attributes of an object; None where it has none."""
    try:
        look = threading.local.__getattribute__ if isinstance(x, threading.local) else object.__getattribute__
        found = look(x, "__dict__")
    except Exception:  # there is none; or it is a property of the user's, which may raise anything
        return None
    return found if isinstance(found, dict) else None


def slots_of(cls: type) -> dict[str, Any]:
    """The descriptors of the slots of objects of `cls`, by name."""
    return {
        name: slot
        for base in reversed(cls.__mro__)
        for name, slot in base.__dict__.items()
        if type(slot) is MemberDescriptorType
    }


def slot_value(slot: Any, x: Any, default: Any) -> Any:
    """What `x` has in a slot."""
    try:
        return slot.__get__(x)
    except AttributeError:  # nothing yet
        return default


def looked_up(cls: type, name: str) -> Any:
    """What objects of `cls` find by `name` in their class; None if nothing."""
    for base in cls.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return None


def module_of(cls: type) -> str:
    """The name of the module that `cls` says it is from."""
    name = _MODULE.__get__(cls)
    return name if isinstance(name, str) else ""


def looks_up_plainly(cls: type) -> bool:
    """Whether `x.__dict__` runs no code of the user's, for objects of `cls`, and is the dict of their attributes."""
    getter = looked_up(cls, "__dict__")
    return looked_up(cls, "__getattribute__") is object.__getattribute__ and isinstance(getter, GetSetDescriptorType)
