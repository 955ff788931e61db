"""The limits of this machine, measured: its arithmetic, and the bandwidth of a copy."""

from __future__ import annotations

from time import perf_counter

import numpy as np

from ... import _kernels
from ..._results import Array

SECONDS = 0.15  # for each limit
SMALLEST = 1 << 12  # elements


def gigaflops(dtype: str, threads: int) -> float:
    """Multiply-adds on registers alone, in GFLOP/s: the best of a few tries, for it is a limit."""
    one = np.ones(1, dtype)
    rounds, best, end = 200_000, 0.0, perf_counter() + SECONDS
    _kernels.fma_rounds(one, rounds, threads)
    while perf_counter() < end:
        start = perf_counter()
        flops = _kernels.fma_rounds(one, rounds, threads)
        best = max(best, flops / (perf_counter() - start))
    return best / 1e9


def gigabytes(moved: int) -> float:
    """GB/s of a copy that reads and writes about `moved` bytes, again and again, so in the cache they fit."""
    n = max(moved // 8, SMALLEST)
    source, target = _aligned(n), _aligned(n)
    repeats = max(1, (1 << 22) // source.nbytes)
    best, end = 0.0, perf_counter() + SECONDS
    _kernels.copy(target, source)
    while perf_counter() < end:
        start = perf_counter()
        for _ in range(repeats):
            _kernels.copy(target, source)
        best = max(best, 2 * source.nbytes * repeats / (perf_counter() - start))
    return best / 1e9


def _aligned(n: int) -> Array:
    """Float32 ones at a multiple of 64 bytes: memcpy is many times slower for some other addresses."""
    raw = np.empty(4 * n + 64, np.uint8)
    begin = -raw.ctypes.data % 64
    ones: Array = raw[begin : begin + 4 * n].view(np.float32)
    ones[...] = 1
    return ones
