"""Reverse-mode differentiation: `backward`, `grad`, `Function`, grad modes, `gradcheck`.

`graph` holds the nodes, `engine` runs them, `domains` says over what (arrays, IR values, tensors), `hooks`
and `function` are the user's ways in (`custom`: in a recording), `modes` switches recording, `views` follows writes to
shared memory, `gradchecks` tests a gradient by finite differences.
"""

from __future__ import annotations

from typing import Any

from .engine import backward, grad
from .function import Function
from .gradchecks import GradcheckError, gradcheck, gradgradcheck
from .graph import Node
from .modes import enable_grad, is_grad_enabled, no_grad, set_grad_enabled

__all__ = [
    "Function", "GradcheckError", "Node", "Variable", "backward", "enable_grad", "grad", "gradcheck", "gradgradcheck",
    "is_grad_enabled", "no_grad", "set_grad_enabled",
]


def __getattr__(name: str) -> Any:
    """`Variable`, which is a constructor, and the constructors are made with this package."""
    if name == "Variable":
        from ..functional.creation import Variable

        return Variable
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
