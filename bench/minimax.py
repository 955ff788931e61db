"""Compute the coefficients in csrc/core/math_constants.hpp and print them as C++.

    python bench/minimax.py            print every table, with its error
    python bench/minimax.py --check    compare with math_constants.hpp; exit status 1 where it differs

Each table is the best polynomial or quotient of polynomials of its degrees in a weighted maximum norm:
the one whose error swings between +e and -e as often as its coefficients allow. It is found as in
C. Hofreither, "An algorithm for best rational approximation based on barycentric rational interpolation",
Numerical Algorithms 88 (2021): interpolate, then move the nodes closer together where the error between
them is too large, until it is the same everywhere. The weight turns the error of the table into the
relative error of the function that is built on it. Needs mpmath.
"""

import argparse
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import mpmath as mp

mp.mp.dps = 60
HEADER = Path(__file__).parent.parent / "csrc" / "core" / "math_constants.hpp"
Real = mp.mpf
Function = Callable[[Real], Real]


class Table(NamedTuple):
    """Approximate f by p (or p / q) at place(t), t in [-1, 1]; the error is weight * (f - p / q)."""

    names: tuple[str, ...]  # of p, and of q where there is one
    ctype: str
    degrees: tuple[int, int]
    f: Function
    weight: Function
    place: Function


def interval(a: Real, b: Real) -> Function:
    return lambda t: a + (b - a) * (1 + t) / 2


def half_line(top: Real) -> Function:
    """[0, top] with the points crowded towards 0, where the function changes most."""
    centre = Real(4)
    stretch = interval(Real(-1), (top - centre) / (top + centre))
    return lambda t: centre * (1 + stretch(t)) / (1 - stretch(t))


def tables() -> list[Table]:
    r_max = mp.log(2) / 2 * Real("1.001")  # a little more than rounding lets through
    s_max = (mp.sqrt(2) - 1) / (mp.sqrt(2) + 1) * Real("1.001")
    result = []
    for ctype, exp, log, log1p, erf, tail, tail_end in (
        ("float", 4, 2, 3, 6, (5, 4), 15),
        ("double", 9, 6, 9, 12, (11, 10), 39),
    ):
        result += [
            Table(("exp",), ctype, (exp, 0), exp_rest, lambda r: r**2 / mp.exp(r), interval(-r_max, r_max)),
            Table(("log",), ctype, (log, 0), log_rest, lambda z: z / 2, interval(Real(0), s_max**2)),
            Table(("log1p",), ctype, (log1p, 0), log_rest, lambda z: z / 2, interval(Real(0), Real("0.112"))),
            Table(("erf",), ctype, (erf, 0), erf_rest, erf_weight, interval(Real(0), Real(1))),
            Table(("tail_p", "tail_q"), ctype, tail, tail_rest, tail_ratio, half_line(Real(tail_end))),
        ]
    return result


# The functions, in forms that have no 0 / 0.


def exp_rest(r: Real) -> Real:
    """(e^r - 1 - r) / r^2"""
    return mp.hyp1f1(1, 3, r) / 2


def log_rest(z: Real) -> Real:
    """(2 atanh(s) - 2 s) / s^3 with z = s^2"""
    return mp.hyp2f1(1, 1.5, 2.5, z) * 2 / 3


def erf_rest(z: Real) -> Real:
    """erf(x) / x - 1 with z = x^2"""
    return mp.hyp1f1(0.5, 1.5, -z) * 2 / mp.sqrt(mp.pi) - 1


def erf_weight(z: Real) -> Real:
    return 1 / (1 + erf_rest(z))


def tail_ratio(z: Real) -> Real:
    """Phi(-z) e^(z^2/2)"""
    return mp.exp(z * z / 2) * mp.erfc(z / mp.sqrt(2)) / 2


def tail_rest(z: Real) -> Real:
    """What is left of 1 / tail_ratio, which grows like sqrt(2 pi) z, next to 5/2 z."""
    return 1 / tail_ratio(z) - Real(5) / 2 * z


# The algorithm.


def evaluate(p: list[Real], q: list[Real], x: Real) -> Real:
    return mp.polyval(p[::-1], x) / mp.polyval(q[::-1], x)


def interpolate(table: Table, nodes: list[Real]) -> tuple[list[Real], list[Real]]:
    """p and q, constant terms first, with p = f q at the nodes."""
    n, m = table.degrees
    values = [table.f(x) for x in nodes]
    rows = [
        [x**j for j in range(n + 1)] + [-v * x**j for j in range(1, m + 1)]
        for x, v in zip(nodes, values, strict=True)
    ]
    solution = list(mp.lu_solve(mp.matrix(rows), mp.matrix(values)))
    # Any multiple of p and q is as good. q(0) = 7/4 puts q and the denominator, near 2 q, high between two
    # powers of two near the origin, where Phi is largest: there half an ulp is a smaller part of them.
    scale = Real(7) / 4 if m > 0 else Real(1)
    return [scale * c for c in solution[: n + 1]], [scale, *(scale * c for c in solution[n + 1 :])]


def best(table: Table) -> tuple[list[Real], list[Real], Real]:
    """p, q and their weighted error."""
    count = sum(table.degrees) + 1
    ts = [-mp.cos(mp.pi * (i + Real(0.5)) / count) for i in range(count)]
    for _ in range(100):
        p, q = interpolate(table, [table.place(t) for t in ts])
        ends = [Real(-1), *ts, Real(1)]
        peaks = []
        for a, b in pairwise(ends):
            inside = [table.place(a + (b - a) * i / 12) for i in range(13)]
            peaks.append(max(abs(table.weight(x) * (table.f(x) - evaluate(p, q, x))) for x in inside))
        if max(peaks) <= min(peaks) * Real("1.02"):
            return p, q, max(peaks)
        step = Real(-2.2) / count
        lengths = [(b - a) * peak**step for (a, b), peak in zip(pairwise(ends), peaks, strict=True)]
        total = sum(lengths)
        ts = [-1 + 2 * sum(lengths[: i + 1]) / total for i in range(count)]
    raise RuntimeError(f"no convergence: {table.names}, {table.degrees}")


def cpp(name: str, ctype: str, coefficients: list[Real]) -> str:
    digits, suffix = (9, "f") if ctype == "float" else (17, "")
    with mp.workprec(24 if ctype == "float" else 53):
        numbers = [f"{float(+c):#.{digits}g}{suffix}" for c in coefficients]
    return f"static constexpr {ctype} {name}[] = {{{', '.join(numbers)}}};"


def main() -> int:
    parser = argparse.ArgumentParser(description="Compute the coefficients of the elementary functions.")
    parser.add_argument("--check", action="store_true", help=f"compare with {HEADER.name}")
    check = parser.parse_args().check
    text = "".join(HEADER.read_text().split()) if check else ""
    missing = 0
    for table in tables():
        p, q, error = best(table)
        print(f"// {table.ctype} {' / '.join(table.names)}: weighted error 2^{float(mp.log(error, 2)):.1f}")
        for name, coefficients in zip(table.names, (p, q), strict=False):
            line = cpp(name, table.ctype, coefficients)
            print(line)
            if check and "".join(line.split()) not in text:
                print("    differs from the header")
                missing += 1
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
