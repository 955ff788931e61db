"""`closedform train`: a real model on real data, from start to finish."""

from __future__ import annotations

import argparse

from . import digits, text

DATA = {"digits": digits, "text": text}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `closedform train`: a parser for each kind of data."""
    kinds = parser.add_subparsers(metavar="data", dest="data", required=True)
    for name, module in DATA.items():
        options = kinds.add_parser(name, help=module.SUMMARY, description=module.DESCRIPTION)
        module.add_arguments(options)
        options.set_defaults(train=module.run, parser=options)
    parser.epilog = (
        f"Each has options: {parser.prog} text --help. With --json the result is machine-readable."
    )


def run(args: argparse.Namespace) -> int:
    """Train, report, and return the exit status."""
    return int(args.train(args))
