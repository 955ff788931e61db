"""What the tests share: hypothesis without randomness, every ISA in turn, errors in ULPs."""

import os
import subprocess
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest

import closedform as cf
from closedform import _kernels

hypothesis.settings.register_profile(
    "closedform",
    derandomize=True,  # the same examples everywhere: a failure is a failure of the code
    deadline=None,
    database=None,  # leaves no folder behind
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much],
)
hypothesis.settings.load_profile("closedform")

ISAS = _kernels.available_isas()
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def _runtime_as_it_was():
    """Threads, ISA and backend are the process's: a test that changes them changes them for itself alone."""
    isa, threads, backend = _kernels.isa(), cf.get_num_threads(), cf.get_backend()
    yield
    _kernels.select_isa(isa)
    cf.set_num_threads(threads)
    cf.set_backend(backend)


@pytest.fixture(params=ISAS)
def isa(request):
    """Runs the test once on each instruction set that this CPU has."""
    assert _kernels.select_isa(request.param)
    return request.param


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A client of two worker processes, started by the first test that asks for it."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0", "host": "127.0.0.1"}
    folder = str(tmp_path_factory.mktemp("dask"))
    with (
        distributed.LocalCluster(**options, local_directory=folder) as started,
        distributed.Client(started, set_as_default=False) as client,
    ):
        yield client


def ulp(a: np.ndarray) -> np.ndarray:
    """The unit in the last place, in a's dtype; of the largest and of infinities half of it."""
    return np.spacing(np.minimum(np.abs(a), np.finfo(a.dtype).max / 2)).astype(np.float64)


def ulps(found: np.ndarray, expected: np.ndarray, residual: np.ndarray | float = 0.0) -> np.ndarray:
    """Error of `found` in units in the last place of `expected` (+ `residual`, what rounding cut off it).

    Equal infinities and NaNs have none; unequal ones an infinite one.
    """
    expected = np.asarray(expected, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = expected.astype(found.dtype)
        unit = ulp(rounded)
        error = np.abs((found.astype(np.float64) - expected) - residual) / unit
    same = (found == rounded) | (np.isnan(found) & np.isnan(expected))
    finite = np.isfinite(found) & np.isfinite(rounded)
    return np.where(finite, error, np.where(same, 0.0, np.inf))


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def run_python(
    code: str, *options: str, timeout: float = 120, **env: str
) -> subprocess.CompletedProcess[str]:
    """Runs `code` in an interpreter of its own, with this closedform. A hang is a failure."""
    package = str(Path(cf.__file__).parents[1])
    path = os.pathsep.join(p for p in (package, os.environ.get("PYTHONPATH", "")) if p)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CLOSEDFORM_")}
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        env=environment | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"} | env,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
