"""The command line: `closedform`, also `python -m closedform`."""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import sys
from collections.abc import Sequence
from typing import Any

from .._version import __version__

# Each is a module of this package, imported when called: add_arguments(parser) and run(args) -> exit status.
COMMANDS = {
    "info": "what is installed and how it runs",
    "verify": "check every op on this machine: against its twin, its gradient, on every instruction set",
    "bench": "speed, error and memory, against the NumPy twins, PyTorch and scikit-learn",
    "train": "train a model on real data",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 0 fine, 1 a check failed, 2 wrong usage or a package is missing."""
    argv = sys.argv[1:] if argv is None else list(argv)
    chosen = argv[0] if argv and argv[0] in COMMANDS else None
    args = _parser(chosen).parse_args(argv)
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # such as `closedform info | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="closedform",
        description="Machine learning with hand-derived gradients: each op a NumPy twin and a fast kernel.",
    )
    parser.add_argument("--version", action="version", version=f"closedform {__version__}")
    commands = parser.add_subparsers(metavar="command", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == chosen:
            module = importlib.import_module(f"{__name__}.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run, parser=command)
    return parser


def print_json(data: Any) -> None:
    """One JSON document on standard output; numbers that are not finite become null."""
    print(json.dumps(_finite(data), indent=2, ensure_ascii=False))


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
