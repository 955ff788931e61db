"""Every benchmark case of the catalogue under pytest-benchmark: the answer is checked, then timed.

`pytest bench` runs all but the slow cases; choose with -k, compare runs with --benchmark-autosave and
--benchmark-compare. Rivals, in processes of their own, and the limits of the machine: `closedform bench`.
"""

import numpy as np
import pytest

import closedform as cf
from closedform.catalogue import OPS, error_in_eps, outputs, traffic

CASES = [
    pytest.param(
        op,
        bench,
        dtype,
        id=f"{op.name}-{bench.label}-{dtype}",
        marks=[pytest.mark.slow] if bench.slow else [],
    )
    for op in OPS
    for bench in op.benches
    for dtype in bench.dtypes
]


@pytest.fixture(params=sorted({1, cf.get_num_threads()}), ids=lambda n: f"{n}threads")
def threads(request):
    with cf.num_threads(request.param):
        yield request.param


@pytest.mark.parametrize(("op", "bench", "dtype"), CASES)
def test_op(benchmark, op, bench, dtype, threads):
    call = bench.make(np.dtype(dtype))
    results = outputs(op, op.public, call)
    error = error_in_eps(op, call, results)
    assert error <= op.allowed(call)

    benchmark.group = f"{op.name} {bench.label} {dtype}"
    benchmark.extra_info.update(threads=threads, error_in_eps=error)
    benchmark.extra_info.update(flops=op.flops(call), bytes=traffic(call, results))
    benchmark(op.public, *call.args, **call.options)
