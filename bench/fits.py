"""Whole fits of the estimators against scikit-learn's, each library in a process of its own, in turn.

    python bench/fits.py [--rounds 5] [--threads 2] [part of a case's name ...]

Prints the median time of a fit; of mixtures that of an iteration, from two fits of different length.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from tabulate import tabulate

LIBRARIES = ("closedform", "scikit-learn")
Fit = Callable[[], float]  # runs, and returns its seconds


def seconds(f: Callable[[], Any]) -> float:
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def estimators(library: str) -> Any:
    """A namespace with GaussianMixture, AdaBoostClassifier and PCA."""
    if library == "closedform":
        import closedform.estimators

        return closedform.estimators
    from types import SimpleNamespace

    from sklearn.decomposition import PCA
    from sklearn.ensemble import AdaBoostClassifier
    from sklearn.mixture import GaussianMixture

    return SimpleNamespace(GaussianMixture=GaussianMixture, AdaBoostClassifier=AdaBoostClassifier, PCA=PCA)


def mixture(N: int, D: int, K: int, kind: str) -> Callable[[str], Fit]:
    def make(library: str) -> Fit:
        rng = np.random.default_rng(0)
        X = rng.standard_normal((N, D)) + 3 * rng.standard_normal((K, D))[rng.integers(0, K, N)]
        eye = np.eye(D) if kind in ("full", "tied") else np.float64(1)
        shape = {"full": (K, D, D), "tied": (D, D), "diag": (K, D), "spherical": (K,)}[kind]
        start = {
            "weights_init": np.full(K, 1 / K),
            "means_init": X[:K],
            "precisions_init": np.broadcast_to(eye, shape),
            "init_params": "random",
        }
        few, many = (2, 6) if N > 1000 else (20, 220)

        def fit(iterations: int) -> float:
            model = estimators(library).GaussianMixture(
                K, covariance_type=kind, tol=0, max_iter=iterations, random_state=0, **start
            )
            return seconds(lambda: model.fit(X))

        return lambda: (fit(many) - fit(few)) / (many - few)

    return make


def boosting(N: int, F: int, K: int, rounds: int) -> Callable[[str], Fit]:
    def make(library: str) -> Fit:
        if N == 1797:
            from sklearn.datasets import load_digits

            X, y = load_digits(return_X_y=True)
        else:
            rng = np.random.default_rng(0)
            X = rng.standard_normal((N, F))
            y = (X[:, :K] + 0.5 * rng.standard_normal((N, K))).argmax(axis=1)
        return lambda: seconds(
            lambda: estimators(library).AdaBoostClassifier(n_estimators=rounds, random_state=0).fit(X, y)
        )

    return make


def pca(N: int, D: int, k: int, dtype: str) -> Callable[[str], Fit]:
    def make(library: str) -> Fit:
        rng = np.random.default_rng(0)
        X = (rng.standard_normal((N, D)) * np.linspace(3, 0.3, D)).astype(dtype)
        return lambda: seconds(lambda: estimators(library).PCA(k, random_state=0).fit(X))

    return make


CASES = {
    "mixture full 100k x 16, K = 16": mixture(100_000, 16, 16, "full"),
    "mixture diag 100k x 16, K = 16": mixture(100_000, 16, 16, "diag"),
    "mixture full 1M x 2, K = 8": mixture(1_000_000, 2, 8, "full"),
    "mixture tied 50k x 10, K = 8": mixture(50_000, 10, 8, "tied"),
    "mixture full 200 x 4, K = 3": mixture(200, 4, 3, "full"),
    "boosting 100k x 20, 5 classes, 50 rounds": boosting(100_000, 20, 5, 50),
    "boosting 10k x 20, 2 classes, 100 rounds": boosting(10_000, 20, 2, 100),
    "boosting digits, 10 classes, 200 rounds": boosting(1797, 64, 10, 200),
    "PCA 100k x 64, k = 8, float64": pca(100_000, 64, 8, "float64"),
    "PCA 100k x 64, k = 8, float32": pca(100_000, 64, 8, "float32"),
    "PCA 5000 x 784, k = 50, float64": pca(5000, 784, 50, "float64"),
    "PCA 5000 x 784, k = 50, float32": pca(5000, 784, 50, "float32"),
}


def worker(library: str, case: str) -> None:
    """Prints the best of some fits, the first of them apart: it warms up."""
    warnings.simplefilter("ignore")  # not converged, after so few iterations
    fit, end = CASES[case](library), time.perf_counter() + 1
    fit()
    times = [fit()]
    while time.perf_counter() < end:
        times.append(fit())
    print(min(times))


def measured(library: str, case: str, threads: int) -> float:
    names = "CLOSEDFORM_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"
    environment = os.environ | dict.fromkeys(names, str(threads))
    command = [sys.executable, __file__, "--worker", library, case]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", nargs="*", help="part of a case's name (default: all)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(*args.worker)
    rows = []
    for case in CASES:
        if args.case and not any(part in case for part in args.case):
            continue
        times: dict[str, list[float]] = {library: [] for library in LIBRARIES}
        for _ in range(args.rounds):
            for library in LIBRARIES:
                times[library].append(measured(library, case, args.threads))
        ours, theirs = (statistics.median(times[library]) * 1e3 for library in LIBRARIES)
        rows.append([case, f"{ours:.4g}", f"{theirs:.4g}", f"{theirs / ours:.1f}"])
        print(*rows[-1], sep="   ", file=sys.stderr)
    print(tabulate(rows, ["fit", "closedform, ms", "scikit-learn, ms", "times"], disable_numparse=True))


if __name__ == "__main__":
    main()
