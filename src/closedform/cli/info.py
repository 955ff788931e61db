"""`closedform info`: what is installed, and how it runs."""

from __future__ import annotations

import argparse
from typing import Any

from .. import _kernels, show_config
from . import print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="machine-readable, on standard output")


def run(args: argparse.Namespace) -> int:
    config = {**show_config(), "memory held": _kernels.held_bytes()}
    if args.json:
        print_json(config)
        return 0
    width = max(map(len, config))
    for name, value in config.items():
        print(f"{name:{width}}  {_readable(name, value)}")
    return 0


def _readable(name: str, value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if name == "memory held":
        return f"{value / 2**20:.1f} MiB, kept between calls; release_memory() gives it back"
    return str(value)
