"""`closedform verify`: every op on this machine."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import closedform

from .. import _kernels, gradcheck, show_config
from ..catalogue import Op, error_in_eps, find, outputs
from . import print_json

DTYPES = ("float32", "float64")
LEGEND = """
cases      inputs tried, ordinary and extreme, times instruction sets and precisions
float32,   the largest error of a compiled result in eps of that precision,
float64    measured against the NumPy twin in float64
gradient   the largest error of the derivative, as a share of what rounding in a finite difference excuses;
           "by" another op: checked together with it; "-": has none here"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("op", nargs="*", help="ops or families, such as dense or activation (default: all)")
    parser.add_argument("--json", action="store_true", help="machine-readable, on standard output")


def run(args: argparse.Namespace) -> int:
    try:
        ops = find(args.op)
    except ValueError as e:
        args.parser.error(str(e))
    isas = _kernels.available_isas()
    config = show_config()
    if not args.json:
        print(f"closedform {config['closedform']} on {', '.join(isas)} ({config['isa']} is in use)\n")
        print(f"{'':9}{'op':42}{'cases':>6}{'float32':>9}{'float64':>9}  gradient")
    reports = []
    for i, op in enumerate(ops):
        report = check(op, isas)
        reports.append(report)
        if not args.json:
            print(f"{f'[{i + 1}/{len(ops)}] ':>9}{_line(report)}", flush=True)
    failed = [report["op"] for report in reports if not report["passed"]]
    if args.json:
        print_json({**config, "passed": not failed, "ops": reports})
    else:
        print(LEGEND)
        cases = sum(report["cases"] for report in reports)
        verdict = f"FAILED: {', '.join(failed)}" if failed else "all passed"
        print(f"\n{len(ops)} op{'' if len(ops) == 1 else 's'}, {cases} cases: {verdict}")
    return 1 if failed else 0


def check(op: Op, isas: list[str]) -> dict[str, Any]:
    """What `verify` finds out about one op."""
    report: dict[str, Any] = {"op": op.name, "cases": 0, "errors": dict.fromkeys(DTYPES, 0.0), "failures": []}
    in_use = _kernels.isa()
    try:
        for isa in isas:
            _kernels.select_isa(isa)
            for dtype in DTYPES:
                _check_values(op, isa, dtype, report)
            _check_gradient(op, isa, report)
    finally:
        _kernels.select_isa(in_use)
    report["passed"] = not report["failures"]
    return report


def _check_values(op: Op, isa: str, dtype: str, report: dict[str, Any]) -> None:
    for call in (*op.ordinary(np.dtype(dtype)), *op.edge(np.dtype(dtype))):
        error = error_in_eps(op, call, outputs(op, op.public, call))
        report["cases"] += 1
        report["errors"][dtype] = max(report["errors"][dtype], error)
        if not error <= op.allowed(call):
            what = f"{isa} {dtype}, {call.label}: error {error:.3g} eps, allowed {op.allowed(call):.3g}"
            report["failures"].append(what)


def _check_gradient(op: Op, isa: str, report: dict[str, Any]) -> None:
    report["gradient"] = (
        {"by": op.proved_by} if op.proved_by else None if op.no_gradient else report.get("gradient", 0.0)
    )
    for g in op.gradients(closedform) if op.gradients else ():
        found = gradcheck(g.f, g.backward, g.inputs)
        report["gradient"] = max(report["gradient"], found.error / found.tolerance)
        if not found:
            report["failures"].append(f"{isa}, {g.label}: {found}")


def _line(report: dict[str, Any]) -> str:
    gradient = report["gradient"]
    if gradient is None:
        told = "-"
    elif isinstance(gradient, dict):
        told = f"by {gradient['by']}"
    else:
        told = f"{gradient:.1e}"
    errors = "".join(f"{report['errors'][dtype]:9.2f}" for dtype in DTYPES)
    line = f"{report['op']:42}{report['cases']:6}{errors}  {told}"
    return "\n".join([line, *(f"         FAILED {what}" for what in report["failures"])])
