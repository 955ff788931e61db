"""What the trainings share: options, and the model's file at the end."""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import sys
from typing import Any

from closedform import nn


def add_common(parser: argparse.ArgumentParser) -> None:
    """The options that every training has."""
    parser.add_argument(
        "--backend",
        choices=("compiled", "reference"),
        help="compiled kernels (default) or their NumPy twins",
    )
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="(%(default)s)")
    parser.add_argument("--save", metavar="PATH", help="write the trained model there (safetensors)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON, nothing else")


def missing_packages(*names: str) -> bool:
    """Whether some cannot be imported; then standard error says so."""
    if missing := [name for name in names if importlib.util.find_spec(name) is None]:
        shown = ", ".join("scikit-learn" if name == "sklearn" else name for name in missing)
        print(f'closedform train needs {shown}: pip install "closedform[train]"', file=sys.stderr)
    return bool(missing)


def writable(path: str) -> bool:
    """False, and why on standard error, if it can be seen beforehand that no file can be written there."""
    directory = os.path.dirname(path) or "."
    problem = None
    if not os.path.isdir(directory):
        problem = f"there is no directory {directory!r}"
    elif os.path.isdir(path):
        problem = f"{path!r} is a directory"
    elif not os.access(directory, os.W_OK):
        problem = f"the directory {directory!r} is not writable"
    if problem:
        print(f"closedform train: --save: {problem}", file=sys.stderr)
    return problem is None


def saved(model: nn.Layer, path: str) -> bool:
    """Write the model; False, and why on standard error, if that cannot be done."""
    try:
        nn.save(model, path)
    except OSError as e:
        print(f"closedform train: --save: {e}", file=sys.stderr)
        return False
    return True


def shows_bar() -> bool:
    """Whether standard error is a terminal, and tqdm there to draw on it."""
    return sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None


def say(line: str) -> None:
    """Print a line, above the bar if there is one."""
    if shows_bar():
        from tqdm.auto import tqdm

        tqdm.write(line)
    else:
        print(line, flush=True)


def at_least(low: int, high: int | None = None) -> Any:
    """The type of an option: an integer, `low` or more, and at most `high`."""

    def parse(text: str) -> int:
        if (value := int(text)) < low:
            raise argparse.ArgumentTypeError(f"expected an integer >= {low}; got {value}")
        if high is not None and value > high:
            raise argparse.ArgumentTypeError(f"expected an integer <= {high}; got {value}")
        return value

    parse.__name__ = "integer"  # argparse names it in its message
    return parse


def positive(text: str) -> float:
    """The type of an option: a number > 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number > 0; got {text}")
    return value


def share(text: str) -> float:
    """The type of an option: a number in [0, 1]."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number in [0, 1]; got {text}")
    return value
