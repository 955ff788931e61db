"""Batch normalisation: golden values, its definition in long double, far means, spoiled channels, bits, layouts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import closedform as cf
from closedform.catalogue import OPS, Call, error_in_eps, outputs
from conftest import GOLDEN, same_bits

ENTRY = {op.name: op for op in OPS}
DTYPES = [np.float32, np.float64]
EPS = np.finfo(np.float64).eps
SHAPES = [(m, C) for C in (1, 3, 7, 8, 9, 17, 64, 65) for m in (1, 2, 7, 33, 130, 1009)]
SHAPES += [(m, C) for C in (127, 128, 129, 1023, 1024, 1025, 2500) for m in (1, 2, 9, 31, 32, 33, 100)]


def draw(m, C, dtype, offset=0.0, seed=0):
    rng = np.random.default_rng([seed, m, C])
    x = rng.normal(size=(m, C)) * rng.uniform(0.5, 2, C) + offset * rng.choice([-1, 1], C)
    dy = rng.normal(size=(m, C)) + rng.normal(size=C)
    return tuple(a.astype(dtype) for a in (dy, x, rng.normal(size=C), rng.normal(size=C)))


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("case", range(5))
def test_golden(case, backend):
    with np.load(GOLDEN / "batchnorm.npz") as file:
        x, gamma, beta, dy, eps, *expected = (
            file[f"{case:02d}/{name}"]
            for name in ("x", "gamma", "beta", "dy", "eps", "out.y", "grad.x", "grad.gamma", "grad.beta")
        )
    with cf.use_backend(backend):
        trace = cf.batchnorm(x, gamma, beta, eps=float(eps))
        found = (trace.y, *cf.batchnorm_backward(dy, trace))
    rows = [a.reshape(-1, x.shape[-1]) for a in (dy, x)]
    y_size, _, _, *sizes = in_long_double(*rows, gamma, beta, eps)[1]
    tolerance = 16 * EPS * max(1, np.abs(x).max())  # PyTorch subtracts a rounded mean
    for f, e, size in zip(found, expected, (y_size, *sizes), strict=True):
        assert np.all(np.abs(f - e) <= tolerance * size.reshape(e.shape))


def in_long_double(dy, x, gamma, beta, eps):
    """The definition, and the gradients in the form of two sums; and the terms that were added."""
    dy, x, gamma, beta = (a.astype(np.longdouble) for a in (dy, x, gamma, beta))
    m = len(x)
    mean = x.mean(axis=0)
    mean += (x - mean).mean(axis=0)
    rstd = 1 / np.sqrt(((x - mean) ** 2).mean(axis=0) + eps)
    xhat = (x - mean) * rstd
    dgamma, dbeta = (dy * xhat).sum(axis=0), dy.sum(axis=0)
    dx = gamma * rstd * (dy - dbeta / m - xhat * dgamma / m)
    sizes = np.abs(dy * xhat).sum(axis=0), np.abs(dy).sum(axis=0)
    dx_size = np.abs(gamma * rstd) * (np.abs(dy) + sizes[1] / m + np.abs(xhat) * sizes[0] / m)
    y_size = np.abs(gamma) * (np.abs(xhat) + 1) + np.abs(beta)
    values = gamma * xhat + beta, mean, rstd, dx, dgamma, dbeta
    return values, (y_size, np.abs(mean) + 1 / rstd, rstd, dx_size, *sizes)


@pytest.mark.parametrize("offset", [0.0, 3e3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "C"), SHAPES)
def test_definition(m, C, dtype, offset):
    dy, x, gamma, beta = draw(m, C, dtype, offset)
    trace = cf.batchnorm(x, gamma, beta, eps=1e-3)
    found = (*trace[:3], *cf.batchnorm_backward(dy, trace))
    eps = np.finfo(dtype).eps
    for f, e, size in zip(found, *in_long_double(dy, x, gamma, beta, 1e-3), strict=True):
        assert f.dtype == dtype
        assert np.all(np.abs(f - e) <= 4 * eps * size)


@pytest.mark.parametrize("shape", [(50, 3), (2, 4, 5, 7), (1, 6)])
def test_two_sums_are_the_chain_rule(shape):
    """dx by σ² and μ, as the twin has it, and by the gradients of γ and β, as the kernel has it."""
    rng = np.random.default_rng(3)
    x, dy = rng.normal(size=shape) + 2, rng.normal(size=shape)
    gamma, beta = rng.normal(size=(2, shape[-1]))
    rows, m = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
    trace = cf.reference.batchnorm(x, gamma, beta)
    dx, dgamma, dbeta = cf.reference.batchnorm_backward(dy, trace)
    xhat = (x - trace.mean) * trace.rstd
    np.testing.assert_allclose(dgamma, (dy * xhat).sum(axis=rows), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(dbeta, dy.sum(axis=rows), rtol=1e-12, atol=1e-13)
    two_sums = gamma * trace.rstd * (dy - dbeta / m - xhat * dgamma / m)
    scale = np.abs(gamma * trace.rstd) * np.abs(dy).max()
    assert np.max(np.abs(dx - two_sums) / scale) <= 32 * EPS


@settings(max_examples=150)
@given(st.data())
def test_any_input_against_the_twin(data):
    integers, floats = st.integers, st.floats
    C = data.draw(st.one_of(integers(1, 20), integers(60, 140), integers(1000, 1100)), label="C")
    m = data.draw(st.one_of(integers(0, 40), integers(0, 6000 // C)), label="m")
    dtype = data.draw(st.sampled_from(DTYPES), label="dtype")
    offset = data.draw(st.sampled_from([0.0, 1.0, 1e2, 1e4]), label="offset")
    eps = data.draw(st.one_of(floats(1e-6, 1), st.just(1e-5)), label="eps")
    dy, x, gamma, beta = draw(m, C, dtype, offset, seed=data.draw(integers(0, 99), label="seed"))
    trace = cf.batchnorm(x, gamma, beta, eps=eps)
    for name, call in (
        ("batchnorm", Call("", (x, gamma, beta), {"eps": eps})),
        ("batchnorm_backward", Call("", (dy, trace))),
        ("batchnorm_inference", Call("", (x, gamma, beta, beta, np.abs(gamma)), {"eps": eps})),
    ):
        op = ENTRY[name]
        assert error_in_eps(op, call, outputs(op, op.public, call)) <= op.allowed(call), name


@pytest.mark.parametrize("m", [64, 5000])
def test_mean_of_ten_thousand(isa, m):
    """In float32, at mean 1e4 and deviation 1, E[x²] − E[x]² knows no digit of σ²: the squares end at 2³."""
    rng = np.random.default_rng(5)
    x = (rng.normal(size=(m, 33)) + 1e4).astype(np.float32)
    gamma, beta, dy = rng.normal(size=33), rng.normal(size=33), rng.normal(size=(m, 33))
    gamma, beta, dy = (a.astype(np.float32) for a in (gamma, beta, dy))
    naive = (x**2).mean(axis=0) - x.mean(axis=0) ** 2
    assert np.max(np.abs(naive - x.var(axis=0, dtype=np.float64))) > 0.5

    trace = cf.batchnorm(x, gamma, beta)
    expected, sizes = in_long_double(dy, x, gamma, beta, 1e-5)
    found = (*trace[:3], *cf.batchnorm_backward(dy, trace))
    for f, e, size in zip(found, expected, sizes, strict=True):
        assert np.all(np.abs(f - e) <= 4 * np.finfo(np.float32).eps * size)


def test_a_spoiled_channel_spoils_no_other(isa):
    for C in (5, 64, 131):
        dy, x, gamma, beta = draw(300, C, np.float32)
        clean = cf.batchnorm(x, gamma, beta)
        clean_gradients = cf.batchnorm_backward(dy, clean)
        for row, channel, value in ((0, 0, np.nan), (299, C - 1, np.inf), (150, C // 2, np.nan)):
            spoiled = x.copy()
            spoiled[row, channel] = value
            trace = cf.batchnorm(spoiled, gamma, beta)
            gradients = cf.batchnorm_backward(dy, trace)
            assert np.isnan(trace.y[:, channel]).all()
            assert np.isnan(gradients.dx[:, channel]).all()
            assert np.isnan(gradients.dgamma[channel])
            assert np.isfinite(gradients.dbeta[channel])
            others = np.arange(C) != channel
            for a, b in zip((*trace[:3], *gradients), (*clean[:3], *clean_gradients), strict=True):
                assert same_bits(a[..., others], b[..., others])


def test_one_row_and_none():
    gamma, beta = np.array([2.0, 3.0]), np.array([0.5, -1.0])
    trace = cf.batchnorm([[7.0, -1e300]], gamma, beta, eps=0.25)
    assert np.array_equal(trace.y, [beta])
    assert np.array_equal(trace.rstd, [2, 2])
    dx, dgamma, dbeta = cf.batchnorm_backward([[1.5, -2.0]], trace)
    assert np.array_equal((dx[0], dgamma, dbeta), ([0, 0], [0, 0], [1.5, -2]))

    trace = cf.batchnorm(np.empty((3, 0, 2)), gamma, beta)
    assert trace.y.shape == (3, 0, 2)
    assert np.isnan(trace.mean).all()
    assert np.isnan(trace.rstd).all()
    dx, dgamma, dbeta = cf.batchnorm_backward(np.empty((3, 0, 2)), trace)
    assert dx.shape == (3, 0, 2)
    assert np.array_equal((dgamma, dbeta), np.zeros((2, 2)))


# 22 MB of float32: as large as is written past the caches; in whole vectors (and short rows) or not.
LARGE = [(90_000, 64), (1_900_000, 3), (44_000, 131)]


@pytest.mark.parametrize(("m", "C"), LARGE)
def test_large_arrays(m, C):
    """A result past the caches has the bits of one that is not, made in parts or at an odd address."""
    dy, x, gamma, beta = (np.resize(a, (m, C) if a.ndim > 1 else C) for a in draw(1009, C, np.float32))
    x = x + np.float32(2)
    mean, var = x[:200].mean(axis=0), x[:200].var(axis=0)
    y = cf.batchnorm_inference(x, gamma, beta, mean, var)
    for part in (slice(0, 1), slice(m // 3, m // 3 + 7), slice(m - 1000, m)):
        assert same_bits(cf.batchnorm_inference(x[part], gamma, beta, mean, var), y[part])
    odd = np.empty(x.nbytes + 4, np.uint8)[4:].view(np.float32).reshape(x.shape)
    trace = cf.batchnorm(x, gamma, beta)
    assert same_bits(cf.batchnorm(x, gamma, beta, out=odd).y, trace.y)
    gradients = cf.batchnorm_backward(dy, trace)
    assert same_bits(cf.batchnorm_backward(dy, trace, out=(odd, None, None)).dx, gradients.dx)
    some = [0, C // 2, C - 1]
    expected, sizes = in_long_double(dy[:, some], x[:, some], gamma[some], beta[some], 1e-5)
    for f, e, size in zip((*trace[:3], *gradients), expected, sizes, strict=True):
        assert np.all(np.abs(f[..., some] - e) <= 4 * np.finfo(np.float32).eps * size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "C"), [(5000, 64), (40_000, 3), (300, 1030), (2, 70_000), (999, 131)])
def test_bits_do_not_depend_on_threads(m, C, dtype):
    dy, x, gamma, beta = draw(m, C, dtype)
    results = []
    for threads in (1, 2, 3, 5, 8):
        with cf.num_threads(threads):
            trace = cf.batchnorm(x, gamma, beta)
            results.append((*trace[:3], *cf.batchnorm_backward(dy, trace)))
    for other in results[1:]:
        assert all(same_bits(a, b) for a, b in zip(results[0], other, strict=True))


def test_layout_of_a_trace_does_not_matter():
    dy, x, gamma, beta = draw(70, 9, np.float32)
    trace = cf.batchnorm(x, gamma, beta)
    want = cf.batchnorm_backward(dy, trace)
    wide = np.zeros((4, 70, 20), np.float32)
    wide[0, :, ::2][:, :9] = x
    strided = trace._replace(
        x=wide[0, :, ::2][:, :9],
        mean=trace.mean[::-1].copy()[::-1],
        rstd=trace.rstd.astype(">f4"),
        gamma=np.repeat(gamma, 3)[::3],
    )
    for changed in (strided, trace._replace(x=np.asfortranarray(x)), trace._replace(y=None)):
        for a, b in zip(cf.batchnorm_backward(dy, changed), want, strict=True):
            assert same_bits(a, b)


@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_backward_writes_where_out_says(backend):
    dy, x, gamma, beta = draw(70, 9, np.float64)
    with cf.use_backend(backend):
        trace = cf.batchnorm(x, gamma, beta)
        want = cf.batchnorm_backward(dy, trace)
        outs = (np.full((9, 70), np.nan).T, np.full(9, np.nan), np.full(18, np.nan)[::2])
        for given in (outs, (outs[0], None, None), (None, outs[1], outs[2]), (None, None, None)):
            found = cf.batchnorm_backward(dy, trace, out=given)
            for f, g, w in zip(found, given, want, strict=True):
                assert g is None or f is g
                np.testing.assert_array_equal(f, w)
    for clash in (
        (dy, None, None),
        (trace.x, None, None),
        (None, trace.rstd, None),
        (None, outs[1], outs[1]),
    ):
        with pytest.raises(ValueError, match=r"^out d\w+: expected memory of its own"):
            cf.batchnorm_backward(dy, trace, out=clash)


def test_dtypes():
    gamma, beta = np.ones(3), np.zeros(3, np.float32)
    x = np.arange(12, dtype=np.int16).reshape(4, 3)
    assert cf.batchnorm(x, gamma, beta).y.dtype == np.float64
    assert cf.batchnorm(x.astype(np.float32), gamma, beta).mean.dtype == np.float64
    trace = cf.batchnorm(x.astype(np.float32), beta + 1, beta)
    assert trace.y.dtype == trace.rstd.dtype == np.float32
    assert cf.batchnorm_backward(np.ones((4, 3)), trace).dx.dtype == np.float64
