"""Kernels of Gaussian mixtures: any input against the twin, bits, rows, memory, the loop, what the driver refuses."""

import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import closedform as cf
from closedform import _mixture
from closedform.catalogue import OPS, Call, error_in_eps, outputs
from closedform.mixture import COVARIANCE_TYPES, precisions_cholesky
from conftest import run_python, same_bits

ENTRY = {op.name: op for op in OPS}
MIB = 1 << 20
every_type = pytest.mark.parametrize("kind", COVARIANCE_TYPES)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)


def draw(N, D, K, kind, dtype=np.float64, offset=0.0, seed=0):
    """Samples, a mixture that they might come from, its factors, and responsibilities of other ones."""
    rng = np.random.default_rng([seed, N, D, K])
    mix = np.eye(D) + 0.3 * rng.standard_normal((K, D, D)) / np.sqrt(D)
    full = mix @ np.swapaxes(mix, 1, 2)
    variances = rng.uniform(0.5, 2, (K, D))
    covariances = {"full": full, "tied": full[0], "diag": variances, "spherical": variances[:, 0]}[kind]
    means = 1.5 * rng.standard_normal((K, D)) / np.sqrt(D) + offset
    x = rng.standard_normal((N, D)) + means[rng.integers(0, K, N)]
    weights, r = rng.dirichlet(3 * np.ones(K)), rng.dirichlet(np.ones(K), N)
    u, _ = precisions_cholesky(np.array(covariances, dtype, order="C").astype(np.float64), kind)
    return tuple(np.array(a, dtype, order="C") for a in (x, weights, means, covariances, u, r))


def steps(x, weights, means, covariances, u, r, kind, **options):
    """Everything that the three ops give."""
    e = cf.gmm_e_step(x, weights, means, u, covariance_type=kind)
    m = cf.gmm_m_step(x, r, covariance_type=kind, **options)
    return *e, *m, *cf.gmm_em_step(x, weights, means, covariances, covariance_type=kind, **options)


@settings(max_examples=150)
@given(st.data())
def test_any_input_against_the_twin(data):
    integers = st.integers
    D = data.draw(st.one_of(integers(1, 9), integers(10, 40)), label="D")
    K = data.draw(st.one_of(integers(1, 5), integers(6, 20)), label="K")
    N = data.draw(st.one_of(integers(1, 40), integers(41, 400)), label="N")
    kind, dtype = (
        data.draw(st.sampled_from(COVARIANCE_TYPES)),
        data.draw(st.sampled_from([np.float32, np.float64])),
    )
    offset = data.draw(st.sampled_from([0.0, 1.0, -1e2, 1e4]), label="offset")
    seed = data.draw(integers(0, 99), label="seed")
    x, weights, means, covariances, u, r = draw(N, D, K, kind, dtype, offset, seed)
    options = {"covariance_type": kind, "reg_covar": data.draw(st.sampled_from([0.0, 1e-6, 0.1]))}
    if data.draw(st.booleans(), label="sample_weight"):
        options["sample_weight"] = np.random.default_rng(seed).uniform(0.1, 3, N).astype(dtype)
    for name, call in (
        ("gmm_e_step", Call("", (x, weights, means, u), {"covariance_type": kind})),
        ("gmm_m_step", Call("", (x, r), options)),
        ("gmm_em_step", Call("", (x, weights, means, covariances), options)),
    ):
        op = ENTRY[name]
        assert error_in_eps(op, call, outputs(op, op.public, call)) <= op.allowed(call), name


@every_dtype
@every_type
def test_bits_do_not_depend_on_threads(kind, dtype):
    given = draw(20_011, 5, 4, kind, dtype)  # several tasks, the last of them short
    weight = np.random.default_rng(1).uniform(0, 2, 20_011)
    with cf.num_threads(1):
        want = steps(*given, kind, sample_weight=weight)
    for n in (2, 3, 7):
        with cf.num_threads(n):
            assert all(map(same_bits, steps(*given, kind, sample_weight=weight), want)), f"{n} threads"


@every_dtype
@every_type
def test_a_row_does_not_see_its_batch(kind, dtype, isa):
    x, weights, means, _, u, _ = draw(5000, 6, 3, kind, dtype)
    whole = cf.gmm_e_step(x, weights, means, u, covariance_type=kind)
    for rows in (slice(0, 1), slice(4321, 4322), slice(100, 233), slice(1, 5000)):
        part = cf.gmm_e_step(x[rows], weights, means, u, covariance_type=kind)
        for p, w in zip(part, whole, strict=True):
            assert same_bits(p, w[rows].copy())


@pytest.mark.parametrize("kind", ["full", "tied"])
def test_matrices_are_exactly_symmetric(kind, isa):
    x, weights, means, covariances, _, r = draw(777, 7, 3, kind, offset=100.0)
    m = cf.gmm_m_step(x, r, covariance_type=kind)
    em = cf.gmm_em_step(x, weights, means, covariances, covariance_type=kind)
    for found in (m.covariances, em.covariances):
        assert same_bits(found, np.swapaxes(found, -1, -2).copy())


@every_type
def test_weights_in_any_layout(kind):
    x, weights, means, covariances, u, r = draw(300, 3, 2, kind)
    w = np.random.default_rng(2).uniform(0, 2, 600)[::2]
    want = steps(x, weights, means, covariances, u, r, kind, sample_weight=w.copy())
    w.flags.writeable = False
    assert all(map(same_bits, steps(x, weights, means, covariances, u, r, kind, sample_weight=w), want))


def test_calls_from_many_threads_at_once():
    given = draw(8000, 6, 5, "full")
    want, found = steps(*given, "full"), []
    threads = [threading.Thread(target=lambda: found.append(steps(*given, "full"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert all(same_bits(g, w) for got in found for g, w in zip(got, want, strict=True))


MEMORY = """
import resource
import numpy as np, closedform as cf

N, D, K = 2_000_000, 2, 8
x = np.random.default_rng(0).standard_normal((N, D))
given = {"full": np.stack([np.eye(D)] * K), "tied": np.eye(D), "diag": np.ones((K, D)), "spherical": np.ones(K)}
for rows in (10_000, N):  # the first wakes threads and fills their scratch memory
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for kind, covariances in given.items():
        cf.gmm_em_step(x[:rows], np.full(K, 1 / K), x[:K], covariances, covariance_type=kind)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in KiB")
def test_memory_of_an_iteration_does_not_grow_with_samples():
    """x takes 32 MB here; responsibilities would take 128."""
    done = run_python(MEMORY)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 <= 4 * MIB


@every_dtype
@every_type
def test_the_loop_is_the_step_repeated(kind, dtype):
    x, *rest = draw(3000, 4, 3, kind)
    weights, means, covariances, u, _ = rest
    w = np.random.default_rng(3).uniform(0, 2, 3000)
    x, state, values = x.astype(dtype), (weights, means, covariances), []
    for _ in range(6):
        value, *state = cf.gmm_em_step(x, *state, covariance_type=kind, sample_weight=w)
        values.append(value)
    index = COVARIANCE_TYPES.index(kind)
    converged, n, bounds, failed = _mixture.fit(
        x, w, weights, means, covariances, u, index, 1e-6, 6, 0.0, None
    )
    assert (converged, n, failed) == (False, 6, -1)
    assert bounds == values
    for found, expected in zip((weights, means, covariances), state, strict=True):
        assert same_bits(found, expected)


def test_the_driver_refuses_what_the_wrapper_never_passes():
    x, weights, means, _, u, r = draw(9, 3, 2, "full")
    out, rest = (np.empty(9), np.empty((9, 2))), (weights, means, u, 0)
    for args in (
        (x[:0], *rest, *out), (x[:, :2].copy(), *rest, *out), (x.T, *rest, *out), (x, *rest, out[0][:5], out[1]),
        (x, *rest, out[0], out[1][:, :1].copy()), (x, weights[:1], means, u, 0, *out),
        (x, weights, means, u[0], 0, *out), (x, weights, means, u, 4, *out),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"shapes|contiguous|covariances"):
            _mixture.e_step(*args)
    new = np.empty(2), np.empty((2, 3)), np.empty((2, 3, 3))
    for args in ((x, r[:4]), (x, r[:, :1].copy()), (x[:0], r[:0])):
        with pytest.raises(ValueError, match="shape"):
            _mixture.m_step(*args, None, 0, 0.0, *new)
    with pytest.raises(ValueError, match="shapes"):
        _mixture.m_step(x, r, np.ones(4), 0, 0.0, *new)
    with pytest.raises(TypeError):
        _mixture.e_step(x.astype(int), *rest, *out)
