"""`closedform bench`: how fast, how exact, how much memory, against the NumPy twins, PyTorch and scikit-learn."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from typing import Any

from ... import _kernels, show_config
from .. import print_json
from .cases import Case, choose
from .processes import WorkerError
from .steps import STEPS

PEERS = {"torch": "torch", "sklearn": "scikit-learn"}  # modules, and what pip calls them
QUICK, FULL = 0.2, 1.0  # seconds of timing for each library and case


def add_arguments(parser: argparse.ArgumentParser) -> None:
    cpus = _kernels.available_cpus()
    add = parser.add_argument
    add(
        "op",
        nargs="*",
        help=f"ops, families, {' or '.join(STEPS)} (default: the headlines, in under two minutes)",
    )
    add("--full", action="store_true", help="every case, the slow ones too, and four times the time for each")
    add("--threads", type=int, nargs="+", metavar="N", help=f"numbers of threads (default: {_default(cpus)})")
    add(
        "--peers",
        nargs="*",
        choices=list(PEERS),
        metavar="LIBRARY",
        help="what to compare with, beside the twins: torch, sklearn (default: those that are installed)",
    )
    add(
        "--seconds",
        type=float,
        help=f"timing of each library and case (default: {QUICK}, with --full {FULL})",
    )
    add("--json", action="store_true", help="machine-readable, on standard output")


def _default(cpus: int) -> str:
    return "1" if cpus == 1 else f"1 {cpus}"


def run(args: argparse.Namespace) -> int:
    if missing := [name for name in ("tabulate", "tqdm") if importlib.util.find_spec(name) is None]:
        print(
            f'closedform bench needs {", ".join(missing)}: pip install "closedform[bench]"', file=sys.stderr
        )
        return 2
    threads = args.threads or [int(n) for n in _default(_kernels.available_cpus()).split()]
    if not all(1 <= n <= 256 for n in threads):
        args.parser.error("--threads: expected integers in [1, 256]")
    peers = _peers(args)
    seconds = args.seconds if args.seconds is not None else FULL if args.full else QUICK
    if not 0 < seconds < 3600:
        args.parser.error("--seconds: expected a number in (0, 3600)")
    try:
        cases = choose(args.op, full=args.full)
    except ValueError as e:
        args.parser.error(str(e))
    try:
        report = _measure(cases, ["closedform", "twin", *peers], sorted(set(threads)), seconds)
    except WorkerError as e:
        print(f"closedform bench: {e}", file=sys.stderr)
        return 1
    if args.json:
        print_json({"config": show_config(), **report})
    else:
        _print(report)
    return 0 if all(row["correct"] for row in report["rows"]) else 1


def _peers(args: argparse.Namespace) -> list[str]:
    """The libraries asked for, or those installed."""
    asked = list(PEERS) if args.peers is None else args.peers
    there = [name for name in asked if importlib.util.find_spec(name) is not None]
    for name in asked:
        if name not in there:
            if args.peers is not None:
                args.parser.error(f"--peers: {name} is not installed: pip install {PEERS[name]}")
            print(
                f"{name} is not installed, so there is no comparison with it: pip install {PEERS[name]}",
                file=sys.stderr,
            )
    return there


def _measure(cases: list[Case], libraries: list[str], threads: list[int], seconds: float) -> dict[str, Any]:
    from tqdm import tqdm

    from .measure import run as measure

    start, load = time.perf_counter(), os.getloadavg()[0]
    with tqdm(total=len(cases) * len(threads), unit="case", leave=False, dynamic_ncols=True) as bar:
        done = 0

        def started(case: Case, n: int) -> None:
            nonlocal done
            bar.n, done = done, done + 1
            bar.set_description(f"{case.op} {case.label}, {n} thread{'s' if n > 1 else ''}")

        report = measure(cases, libraries, threads, seconds, started)
    return {**report, "load_before": load, "elapsed": time.perf_counter() - start}


def _print(report: dict[str, Any]) -> None:
    from .report import import_line, legend, limits_line, table

    config = show_config()
    print(f"{', '.join(report['versions'])}; {config['isa']}, {config['cpus available']} CPUs")
    for limits in report["limits"]:
        print(limits_line(limits))
    print(import_line(report["import"]))
    if report["load_before"] > config["cpus available"] / 2:
        print(
            f"other work runs on this machine (load {report['load_before']:.1f}): figures are low, and spread"
        )
    print()
    print(table(report))
    print(legend(report))
    wrong = sorted({row["op"] for row in report["rows"] if not row["correct"]})
    verdict = f"WRONG: {', '.join(wrong)}" if wrong else "every answer checked"
    print(f"\n{len(report['rows'])} rows in {report['elapsed']:.0f} s, {verdict}")
