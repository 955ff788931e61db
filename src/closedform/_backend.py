"""Which floor runs an op: the compiled kernels or the NumPy twins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

BACKENDS = ("compiled", "reference")

_default = "compiled"  # of the process
_override: ContextVar[str | None] = ContextVar("closedform_backend", default=None)  # of a `with` block


def _checked(name: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"name: expected one of {BACKENDS}; got {name!r}")
    return name


def get_backend() -> str:
    """The backend in use here: "compiled" or "reference"."""
    return _override.get() or _default


def set_backend(name: str) -> None:
    """Choose the backend of this process: "compiled" (the default) or "reference", the NumPy twins.

    Inside a `use_backend` block, that block's choice stands until it ends.
    """
    global _default
    _default = _checked(name)


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run everything inside the `with` block, layers and estimators included, on one backend.

    The choice belongs to the thread (or async task) that makes it.

    >>> import closedform as cf
    >>> with cf.use_backend("reference"):
    ...     float(cf.sigmoid([0.0])[0])
    0.5
    """
    token = _override.set(_checked(name))
    try:
        yield
    finally:
        _override.reset(token)


def using_reference() -> bool:
    return (_override.get() or _default) == "reference"
