"""Softmax and the losses against their twins in float64: every K around a vector, hostile rows, long sums."""

import math

import numpy as np
import pytest

import closedform as cf
from conftest import GOLDEN, same_bits

ref = cf.reference
DTYPES = [np.float32, np.float64]
CLASSES = [1, 2, 7, 8, 9, 10, 15, 16, 17, 64, 65, 1000, 4097]
INF, NAN = np.inf, np.nan


def close(found, expected, eps_units, scale=None):
    """|found - expected| <= eps_units eps scale, entry by entry; NaN and infinities in the same places."""
    found, expected = np.asarray(found), np.asarray(expected, np.float64)
    finfo = np.finfo(found.dtype)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.isfinite(found), finite)
    np.testing.assert_array_equal(found[~finite], expected[~finite].astype(found.dtype))
    with np.errstate(invalid="ignore"):
        error = np.abs(found.astype(np.float64) - expected)[finite]
        size = np.broadcast_to(np.abs(expected) if scale is None else scale, expected.shape)[finite]
    allowed = eps_units * (finfo.eps * size + finfo.smallest_subnormal)
    assert np.all(error <= allowed), f"{np.max(error / allowed) * eps_units:.1f} eps"


def logits(dtype, N, K, scale=4.0):
    return (np.random.default_rng([N, K]).normal(size=(N, K)) * scale).astype(dtype)


# -- softmax and its relatives --


@pytest.mark.parametrize("K", CLASSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_family(isa, dtype, K):
    for N in (1, 2, 33):
        x = logits(dtype, N, K)
        x64 = x.astype(np.float64)
        dy = np.random.default_rng(N).normal(size=(N, K)).astype(dtype)
        dy64 = dy.astype(np.float64)
        span = np.ptp(x64) + 4  # exp(x - max) magnifies the rounding of the difference
        for temperature in (1.0, 0.25, 10.0):
            s = ref.softmax(x64, temperature=temperature)
            close(cf.softmax(x, temperature=temperature), s, 4 + span / temperature)
            y = s.astype(dtype)
            terms = np.abs(y) * (np.abs(dy64) + (np.abs(dy64 * y)).sum(-1, keepdims=True)) / temperature
            gradient = ref.softmax_backward(dy64, y.astype(np.float64), temperature=temperature)
            close(cf.softmax_backward(dy, y, temperature=temperature), gradient, 8, terms)
        lse, log_s = ref.logsumexp(x64), ref.log_softmax(x64)
        close(cf.logsumexp(x), lse, 4, np.abs(lse) + 1)
        close(cf.log_softmax(x), log_s, 4, np.abs(log_s) + 1)
        y = log_s.astype(dtype)
        total = np.abs(dy64).sum(-1, keepdims=True)
        gradient = ref.log_softmax_backward(dy64, y.astype(np.float64))
        close(cf.log_softmax_backward(dy, y), gradient, 16, np.abs(dy64) + np.exp(log_s) * total)
        if K <= 65:
            s = ref.softmax(x64).astype(dtype)
            close(cf.softmax_jacobian(s), ref.softmax_jacobian(s.astype(np.float64)), 2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_sum_to_one(isa, dtype):
    for K in CLASSES:
        sums = cf.softmax(logits(dtype, 5, K)).astype(np.float64).sum(-1)
        assert np.all(np.abs(sums - 1) <= 4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_long_rows(isa, dtype):
    """A million entries: the sum is as accurate as a short one."""
    K = 1_000_000
    x = np.random.default_rng(0).uniform(-1, 1, (1, K)).astype(dtype)
    powers = np.exp(x[0].astype(np.float64))
    total = math.fsum(powers)
    close(cf.logsumexp(x), [math.log(total)], 2)
    close(cf.softmax(x), [powers / total], 6)
    loss, gradient = cf.cross_entropy_with_grad(x, np.array([5]))
    close(loss, math.log(total) - float(x[0, 5]), 4)
    assert abs(gradient.astype(np.float64).sum()) <= 4 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_hostile_rows(isa, dtype):
    big = 1e30
    rows = np.array(
        [
            [0, 0, 0, 0],
            [-INF, 1, 2, -INF],
            [-INF, -INF, -INF, 0],
            [-INF, -INF, -INF, -INF],
            [INF, 0, 1, 2],
            [INF, INF, 0, -INF],
            [NAN, 0, 1, 2],
            [NAN, INF, -INF, 2],
            [0, 1, 2, NAN],
            [big, big, -big, 0],
            [big, 0, 0, 0],
            [-big, -big, -big, -big],
            [88, -88, 709, -745],
            [1e-30, -1e-30, 0, -0.0],
        ],
        dtype,
    )
    for copies in (1, 3, 5):  # 4, 12 and 20 columns: in a partial vector, across one, over several
        x = np.concatenate([rows, *[np.full_like(rows, -INF)] * (copies - 1)], axis=1)
        x64 = x.astype(np.float64)
        scale = 200.0  # x - max has lost up to 1e2 eps where the row spans 1e3
        close(cf.softmax(x), ref.softmax(x64), 1500)
        close(cf.logsumexp(x), ref.logsumexp(x64), 4, np.abs(ref.logsumexp(x64)) + 1)
        close(cf.log_softmax(x), ref.log_softmax(x64), 4, np.abs(ref.log_softmax(x64)) + scale)
        for label in range(4):
            target = np.full(len(x), label)
            for options in ({}, {"label_smoothing": 0.1}, {"label_smoothing": 1.0}):
                loss = ref.cross_entropy(x64, target, reduction="none", **options)
                gradient = ref.cross_entropy_backward(x64, target, reduction="sum", **options)
                close(cf.cross_entropy(x, target, reduction="none", **options), loss, 8, np.abs(loss) + scale)
                close(
                    cf.cross_entropy_backward(x, target, reduction="sum", **options),
                    gradient,
                    8,
                    np.abs(gradient) + 200,
                )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-45, 1e-300, 5e-324])
def test_tiny_temperature_is_argmax(isa, dtype, temperature):
    x = np.array([[0.3, -1.2, 0.4, 0.1, -0.4], [5, 4, -3, 4.5, 1]], dtype)
    hot = np.eye(5)[[2, 0]]
    y = cf.softmax(x, temperature=temperature)
    np.testing.assert_allclose(y, hot, rtol=0, atol=1e-6)
    assert np.all(np.isfinite(y))
    if temperature < 1e-20:
        np.testing.assert_array_equal(
            cf.softmax_backward(np.ones_like(x), hot.astype(dtype), temperature=temperature), 0
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_huge_temperature_is_uniform(isa, dtype):
    x = np.array([[0.3, -1.2, 0.4, 0.1]], dtype)
    np.testing.assert_array_equal(cf.softmax(x, temperature=1e300), np.full((1, 4), 0.25))


# -- cross-entropy --


def options_of(rng, dtype, K):
    weight = rng.uniform(0.5, 2, K).astype(dtype)
    weight[0] = 0
    yield {}
    yield {"weight": weight}
    yield {"label_smoothing": 0.1}
    yield {"label_smoothing": 1.0}
    yield {"weight": weight, "label_smoothing": 0.3}


def check_cross_entropy(x, target, **options):
    dtype, _eps = x.dtype, np.finfo(x.dtype).eps
    wide = {k: v.astype(np.float64) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    soft = target.astype(np.float64) if target.ndim == 2 else target
    x64 = x.astype(np.float64)
    loss, gradient = cf.cross_entropy_with_grad(x, target, **options)
    assert loss.dtype == gradient.dtype == dtype
    assert same_bits(np.asarray(loss), np.asarray(cf.cross_entropy(x, target, **options)))
    assert same_bits(gradient, cf.cross_entropy_backward(x, target, **options))
    expected, expected_gradient = ref.cross_entropy_with_grad(x64, soft, **wide)
    span = np.ptp(x64) + 4 if x.size else 1
    if not np.isfinite(expected).all():  # a mean over labels that are ignored or weigh nothing
        assert not np.isfinite(loss).any()
        return
    close(loss, expected, 8, np.abs(expected) + span)
    # S sum(q) - q cancels at the label: an absolute error of the size of q there.
    q = 2 if options.get("reduction") == "mean" else 8
    size = (8 + span) * np.abs(expected_gradient) + q
    close(gradient, expected_gradient, 1, size)


@pytest.mark.parametrize("K", CLASSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy(isa, dtype, K):
    rng = np.random.default_rng(K)
    for i, N in enumerate((0, 1, 2, 33, 5, 8)):
        x, labels = logits(dtype, N, K), rng.integers(0, K, N)
        soft = rng.uniform(size=(N, K)).astype(dtype)
        soft /= soft.sum(-1, keepdims=True)
        soft[:, 0] = 0
        for j, options in enumerate(options_of(rng, dtype, K)):
            reduction = ("mean", "sum", "none")[(i + j) % 3]
            check_cross_entropy(x, labels, reduction=reduction, **options)
            check_cross_entropy(x, soft, reduction=reduction, **options)
            check_cross_entropy(
                x, labels, reduction=reduction, ignore_index=int(labels[0]) if N else -1, **options
            )


@pytest.mark.parametrize("dtype", DTYPES)
def test_ignored_rows_do_not_count_whatever_they_hold(isa, dtype):
    x = np.array([[1, 2, 3], [NAN, INF, -INF], [0, 0, 1]], dtype)
    for ignore in (-100, 7, 2**62, 1):
        target = np.array([2, ignore, 0])
        loss, gradient = cf.cross_entropy_with_grad(x, target, ignore_index=ignore)
        expected, expected_gradient = ref.cross_entropy_with_grad(
            x[[0, 2]].astype(np.float64), target[[0, 2]]
        )
        close(loss, expected, 4)
        close(gradient[[0, 2]], expected_gradient, 4, 1)
        np.testing.assert_array_equal(gradient[1], 0)
        everything = np.full(3, ignore)
        assert np.isnan(cf.cross_entropy(x, everything, ignore_index=ignore))
        np.testing.assert_array_equal(
            cf.cross_entropy(x, everything, ignore_index=ignore, reduction="none"), 0
        )


@pytest.mark.parametrize("variant", ["plain", "sum", "weighted", "smooth", "ignore", "softtarget"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_golden_cross_entropy(isa, dtype, variant):
    with np.load(GOLDEN / "cross_entropy.npz") as arrays:
        golden = dict(arrays)
    for case in range(5):
        given = {k: golden[f"{case:02d}/{k}"] for k in ("logits", "target", "weight", "soft")}
        x, target = given["logits"].astype(dtype), given["soft" if variant == "softtarget" else "target"]
        options = {
            "sum": {"reduction": "sum"},
            "weighted": {"weight": given["weight"].astype(dtype)},
            "smooth": {"label_smoothing": 0.1},
            "ignore": {"ignore_index": int(given["target"][0]), "reduction": "sum"},
        }.get(variant, {})
        target = target.astype(dtype) if target.ndim == 2 else target
        loss, gradient = cf.cross_entropy_with_grad(x, target, **options)
        assert loss.dtype == dtype
        eps, scale = np.finfo(dtype).eps, np.abs(x).max()
        expected = golden[f"{case:02d}/out.{variant}"]
        assert abs(loss - expected) <= eps * (4 * abs(expected) + 4 * len(x) * scale)
        assert np.all(np.abs(gradient - golden[f"{case:02d}/grad.{variant}"]) <= eps * (4 + 2 * scale))


# -- sums over many elements --


@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_of_a_big_batch(isa, dtype):
    N = 1_000_000
    x = np.random.default_rng(1).normal(size=(N, 3)).astype(dtype)
    target = np.arange(N) % 3
    x64 = x.astype(np.float64)
    rows = np.log(np.exp(x64).sum(-1)) - x64[np.arange(N), target]
    close(cf.cross_entropy(x, target), math.fsum(rows) / N, 2)
    close(cf.cross_entropy(x, target, reduction="sum"), math.fsum(rows), 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 1000, 16383, 16384, 16385, 1_000_001])
def test_elementwise_losses(isa, dtype, n):
    rng = np.random.default_rng(n)
    p, y = rng.uniform(size=(2, n)).astype(dtype)
    z = (rng.normal(size=n) * 10).astype(dtype)
    for name, a in (
        ("squared_error", p),
        ("binary_cross_entropy", p),
        ("binary_cross_entropy_with_logits", z),
    ):
        op, twin = getattr(cf, name), getattr(ref, name)
        a64, y64 = a.astype(np.float64), y.astype(np.float64)
        each = twin(a64, y64, reduction="none")
        # The square magnifies nothing, p - y is rounded once; a logarithm near p = 1 is of 1 - p, exact.
        close(op(a, y, reduction="none"), each, 8, np.abs(each) + (np.abs(a64) if "logits" in name else 0))
        close(op(a, y, reduction="sum"), math.fsum(each), 4)
        close(op(a, y, reduction="mean"), math.fsum(each) / n if n else NAN, 4)
        for reduction in ("sum", "mean", "none"):
            gradient = getattr(ref, f"{name}_backward")(a64, y64, reduction=reduction)
            scale = np.abs(gradient) + (1 / n if reduction == "mean" and n else 1)
            close(getattr(cf, f"{name}_backward")(a, y, reduction=reduction), gradient, 8, scale)


@pytest.mark.parametrize("dtype", DTYPES)
def test_elementwise_losses_at_the_edges(isa, dtype):
    p, y = (a.ravel().astype(dtype) for a in np.meshgrid([0, 1, 0.5, 1e-30, -0.0, NAN], [0, 1, 0.5, NAN]))
    z, t = (
        a.ravel().astype(dtype)
        for a in np.meshgrid([INF, -INF, NAN, 1e30, -1e30, 0, 800, -800], [0, 1, 0.5, NAN])
    )
    for name, a, b in (
        ("binary_cross_entropy", p, y),
        ("binary_cross_entropy_with_logits", z, t),
        ("squared_error", z, t),
    ):
        a64, b64 = a.astype(np.float64), b.astype(np.float64)
        with np.errstate(over="ignore"):
            expected = getattr(ref, name)(a64, b64, reduction="none").astype(dtype)
            gradient = getattr(ref, f"{name}_backward")(a64, b64, reduction="none").astype(dtype)
        close(getattr(cf, name)(a, b, reduction="none"), expected, 8)
        close(getattr(cf, f"{name}_backward")(a, b, reduction="none"), gradient, 8)


def test_a_sum_beyond_the_range_of_float32_is_infinite_and_quiet():
    x = np.full(100_000, 1e17, np.float32)  # each square is 1e34, their sum 1e39
    assert cf.squared_error(x, np.zeros_like(x)) == np.inf
    assert cf.squared_error(x, np.zeros_like(x), reduction="mean") == pytest.approx(1e34, rel=1e-6)
    z = np.full((100_000, 2), -1.5e34, np.float32)
    z[:, 1] = 0
    assert cf.cross_entropy(z, np.zeros(100_000, int), reduction="sum") == np.inf
