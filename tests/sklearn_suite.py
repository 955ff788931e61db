"""scikit-learn's own tests of an estimator, to be run against ours."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType

import pytest
import sklearn


def adopted(suite: ModuleType, excused: dict[str, str]) -> dict[str, Callable[..., None]]:
    """The tests of a module by name; those that do not apply skip with their reason, and none is named in vain."""
    found = dict(inspect.getmembers(suite, inspect.isfunction))
    if sklearn.__version__.startswith("1.9."):  # other versions have other tests
        assert excused.keys() <= found.keys(), (
            f"no tests of {suite.__name__}: {excused.keys() - found.keys()}"
        )
    return {
        name: skipped(excused[name]) if name in excused else test
        for name, test in found.items()
        if name.startswith("test_")
    }


def skipped(reason: str) -> Callable[[], None]:
    def test() -> None:
        pytest.skip(reason)

    return test
