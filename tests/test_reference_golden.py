"""The values of the twins: against PyTorch and mpmath (golden/), at the edges, and in every dtype."""

import itertools
from pathlib import Path

import numpy as np
import pytest

import closedform as cf

ref = cf.reference
EPS = np.finfo(np.float64).eps
GOLDEN = Path(__file__).parent / "golden"
INF, NAN = np.inf, np.nan


@pytest.fixture(scope="module")
def elementary():
    with np.load(GOLDEN / "elementary.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def cross_entropy():
    with np.load(GOLDEN / "cross_entropy.npz") as arrays:
        return dict(arrays)


def ulps(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Error in units in the last place of the expectation, rounded to the dtype of what was found."""
    unit = np.spacing(np.abs(expected).astype(found.dtype)).astype(np.float64)
    return np.abs(found.astype(np.float64) - expected) / unit


# -- elementary functions, against mpmath --


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "limit"), [("tanh", 2), ("sigmoid", 3), ("softplus", 3), ("gelu", 4)])
def test_elementary_functions(elementary, name, limit, dtype):
    x, expected = elementary["x"], elementary[f"out.{name}"]
    if name == "gelu":  # below, the expectation itself has cancelled
        kept = np.abs(expected) > 1e-30
        x, expected = x[kept], expected[kept]
    found = getattr(ref, name)(x.astype(dtype))
    assert found.dtype == dtype
    assert np.max(ulps(found, expected)) <= limit


def test_gelu_far_on_the_left():
    # mpmath, 50 digits: x erfc(-x/√2) / 2
    x = np.array([-3.0, -8.0, -15.2, -25.0, -37.5])
    expected = [
        -4.0496940948902835e-03,
        -4.976768459417427e-15,
        -2.687519955865797e-51,
        -7.641741765956403e-137,
        -1.7270073785932332e-306,
    ]
    assert np.max(ulps(ref.gelu(x), np.array(expected))) <= 4


# -- the cross-entropy family, against PyTorch --

VARIANTS = ["plain", "sum", "weighted", "smooth", "ignore", "softtarget"]


@pytest.mark.parametrize("case", range(5))
@pytest.mark.parametrize("variant", VARIANTS)
def test_cross_entropy(cross_entropy, case, variant):
    logits, labels, weight, soft = (
        cross_entropy[f"{case:02d}/{name}"] for name in ("logits", "target", "weight", "soft")
    )
    options = {
        "plain": {},
        "sum": {"reduction": "sum"},
        "weighted": {"weight": weight},
        "smooth": {"label_smoothing": 0.1},
        "ignore": {"ignore_index": int(labels[0]), "reduction": "sum"},
        "softtarget": {},
    }[variant]
    target = soft if variant == "softtarget" else labels
    loss, dlogits = ref.cross_entropy_with_grad(logits, target, **options)

    expected = cross_entropy[f"{case:02d}/out.{variant}"]
    assert np.abs(loss - expected) <= 8 * EPS * np.abs(expected)
    assert np.max(np.abs(dlogits - cross_entropy[f"{case:02d}/grad.{variant}"])) <= 8 * EPS
    assert ref.cross_entropy(logits, target, **options) == loss


def cross_entropy_in_loops(logits, target, weight, label_smoothing, ignore_index):
    """PyTorch's definition, entry by entry: the losses of the rows, and the divisor of their mean."""
    losses, divisor = [], 0.0
    for z, y in zip(logits, target, strict=True):
        log_p = z - np.log(np.sum(np.exp(z)))
        if np.ndim(y) == 0 and y == ignore_index:
            losses.append(0.0)
            continue
        if np.ndim(y) == 0:
            fit = -weight[y] * log_p[y]
            divisor += weight[y]
        else:
            fit = -sum(weight[k] * y[k] * log_p[k] for k in range(len(z)))
            divisor += 1
        smooth = -sum(weight[k] * log_p[k] for k in range(len(z))) / len(z)
        losses.append((1 - label_smoothing) * fit + label_smoothing * smooth)
    return np.array(losses), divisor


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("soft", "ignore_index"), [(False, None), (False, 2), (False, -100), (True, None)])
def test_cross_entropy_by_its_definition(label_smoothing, weighted, soft, ignore_index):
    N, K = 9, 4
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(N, K))
    target = rng.dirichlet(np.ones(K), N) if soft else rng.integers(0, K, N)
    if ignore_index is not None:
        target[::3] = ignore_index
    weight = rng.uniform(0.5, 2, K) if weighted else np.ones(K)
    losses, divisor = cross_entropy_in_loops(logits, target, weight, label_smoothing, ignore_index)

    expected = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / divisor}
    for reduction, value in expected.items():
        found = ref.cross_entropy(
            logits,
            target,
            weight=weight if weighted else None,
            label_smoothing=label_smoothing,
            ignore_index=ignore_index,
            reduction=reduction,
        )
        np.testing.assert_allclose(found, value, rtol=32 * EPS)


def test_cross_entropy_of_nothing():
    logits, none = np.zeros((0, 3)), np.zeros(0, int)
    assert np.isnan(ref.cross_entropy(logits, none))
    assert ref.cross_entropy(logits, none, reduction="sum") == 0
    assert ref.cross_entropy_backward(logits, none).shape == (0, 3)
    # Every row ignored: the mean of nothing, whose gradient is none.
    loss, dlogits = ref.cross_entropy_with_grad(np.ones((2, 3)), np.array([1, 1]), ignore_index=1)
    assert np.isnan(loss)
    assert np.all(dlogits == 0)


def test_cross_entropy_of_excluded_classes_and_ignored_rows():
    logits = np.array([[0.0, -INF, 0.0], [NAN, NAN, NAN]])
    loss, dlogits = ref.cross_entropy_with_grad(logits, np.array([2, -1]), ignore_index=-1)
    assert abs(loss - np.log(2)) <= EPS
    np.testing.assert_array_equal(dlogits, [[0.5, 0, -0.5], [0, 0, 0]])
    assert ref.cross_entropy(logits[:1], np.array([1])) == INF


# -- softmax and its relatives --


def test_softmax_does_not_see_a_shift():
    x = np.random.default_rng(0).normal(size=(3, 5))
    for shift in (1.0, -700.0, 1e5):
        np.testing.assert_allclose(ref.softmax(x + shift), ref.softmax(x), rtol=0, atol=2 * EPS * abs(shift))
    extremes = np.array([[1e308, -1e308, 1e308]])
    np.testing.assert_array_equal(ref.softmax(extremes), [[0.5, 0, 0.5]])


def test_softmax_at_the_limits_of_temperature():
    x = np.array([[0.3, -1.2, 0.4, 0.1], [5.0, 4.0, -3.0, 4.5]])
    for temperature in (1e-3, 1e-300):  # to 0: the one-hot argmax
        np.testing.assert_allclose(
            ref.softmax(x, temperature=temperature), np.eye(4)[[2, 0]], rtol=0, atol=EPS
        )
    np.testing.assert_allclose(
        ref.softmax(x, temperature=1e12), 0.25, rtol=0, atol=1e-11
    )  # to infinity: uniform


def test_rows_with_infinities():
    nothing, all_of_it, one = [-INF, -INF], [INF, 0.0], [-INF, 0.0]
    x = np.array([nothing, all_of_it, one])
    np.testing.assert_array_equal(ref.softmax(x), [[NAN, NAN], [NAN, NAN], [0, 1]])
    np.testing.assert_array_equal(ref.log_softmax(x), [[NAN, NAN], [NAN, NAN], [-INF, 0]])
    np.testing.assert_array_equal(ref.logsumexp(x), [-INF, INF, 0])
    assert np.isnan(ref.logsumexp(np.array([NAN, INF])))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_logsumexp_removes_its_axis(axis):
    x = np.random.default_rng(0).normal(size=(3, 4)) * 100
    found = ref.logsumexp(x, axis=axis)
    assert found.shape == np.sum(x, axis=axis).shape
    np.testing.assert_allclose(
        x - np.expand_dims(found, axis), ref.log_softmax(x, axis=axis), rtol=0, atol=1e3 * EPS
    )


def test_softmax_jacobian_is_symmetric_and_its_rows_sum_to_zero():
    y = ref.softmax(np.random.default_rng(0).normal(size=(2, 3, 5)))
    jacobian = ref.softmax_jacobian(y)
    assert jacobian.shape == (2, 3, 5, 5)
    np.testing.assert_array_equal(jacobian, jacobian.swapaxes(-1, -2))
    np.testing.assert_allclose(jacobian.sum(axis=-1), 0, atol=2 * EPS)


# -- edges of the elementwise ops --


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_at_the_edges(dtype):
    tiny, huge = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    x = np.array([-INF, INF, NAN, 0.0, tiny, huge, -huge], dtype)
    expected = {
        "relu": [0, INF, NAN, 0, tiny, huge, 0],
        "sigmoid": [0, 1, NAN, 0.5, 0.5, 1, 0],
        "tanh": [-1, 1, NAN, 0, tiny, 1, -1],
        "softplus": [0, INF, NAN, np.log(dtype(2)), np.log(dtype(2)), huge, 0],
        "gelu": [0, INF, NAN, 0, 0, huge, 0],
    }
    for name, y in expected.items():
        np.testing.assert_array_equal(getattr(ref, name)(x), np.array(y, dtype), err_msg=name)
    ones = np.ones_like(x)
    half = dtype(0.5)
    np.testing.assert_array_equal(
        ref.softplus_backward(ones, x), np.array([0, 1, NAN, half, half, 1, 0], dtype)
    )
    np.testing.assert_array_equal(ref.gelu_backward(ones, x), np.array([0, 1, NAN, half, half, 1, 0], dtype))


def test_binary_cross_entropy_of_certain_predictions():
    # As in PyTorch: logarithms are at least -100, the gradient's denominator at least 1e-12.
    y_hat, y = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.0])
    np.testing.assert_array_equal(ref.binary_cross_entropy(y_hat, y, reduction="none"), [0, 0, 100, 100])
    gradient = ref.binary_cross_entropy_backward(y_hat, y, reduction="sum")
    np.testing.assert_allclose(gradient, [0, 0, -1e12, 1e12], rtol=4 * EPS)


def test_binary_cross_entropy_agrees_with_its_logits_form():
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(5, 3)) * 3, rng.uniform(0, 1, (5, 3))
    for reduction in ("sum", "mean", "none"):
        np.testing.assert_allclose(
            ref.binary_cross_entropy(ref.sigmoid(z), y, reduction=reduction),
            ref.binary_cross_entropy_with_logits(z, y, reduction=reduction),
            rtol=1e4 * EPS,  # 1 - σ(z) has lost digits; the logits form has not
        )


def test_binary_cross_entropy_with_logits_far_out():
    z, y = np.array([800.0, -800.0, 800.0, -800.0, 40.0]), np.array([1.0, 0.0, 0.0, 1.0, 1.0])
    losses = ref.binary_cross_entropy_with_logits(z, y, reduction="none")
    np.testing.assert_allclose(losses, [0, 0, 800, 800, np.exp(-40.0)], rtol=4 * EPS)


@pytest.mark.parametrize(
    "name", ["squared_error", "binary_cross_entropy", "binary_cross_entropy_with_logits"]
)
def test_elementwise_losses_of_nothing(name):
    nothing = np.zeros((0, 3))
    assert np.isnan(getattr(ref, name)(nothing, nothing, reduction="mean"))
    assert getattr(ref, name)(nothing, nothing, reduction="sum") == 0
    for reduction in ("sum", "mean", "none"):
        assert getattr(ref, f"{name}_backward")(nothing, nothing, reduction=reduction).shape == (0, 3)


def test_squared_error_by_hand():
    y_hat, y = np.array([[1.0, 4.0]]), np.array([[3.0, 1.0]])
    assert ref.squared_error(y_hat, y) == 13
    assert ref.squared_error(y_hat, y, reduction="mean") == 6.5
    np.testing.assert_array_equal(ref.squared_error(y_hat, y, reduction="none"), [[4, 9]])
    np.testing.assert_array_equal(ref.squared_error_backward(y_hat, y), [[-4, 6]])
    np.testing.assert_array_equal(ref.squared_error_backward(y_hat, y, reduction="mean"), [[-2, 3]])


# -- optimisers, by hand --


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_sgd(momentum, nesterov, weight_decay):
    rng = np.random.default_rng(0)
    parameter, velocity = rng.normal(size=4), np.zeros(4)
    theta, v, lr = parameter.copy(), np.zeros(4), 0.05
    for _ in range(3):
        gradient = rng.normal(size=4)
        options = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
        ref.sgd_update(parameter, gradient, velocity if momentum else None, **options)
        g = gradient + weight_decay * theta
        v = momentum * v + g
        theta = theta - lr * (g + momentum * v if nesterov else v)
        np.testing.assert_allclose(parameter, theta, rtol=8 * EPS, atol=8 * EPS)


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adam(decoupled, weight_decay):
    rng = np.random.default_rng(0)
    parameter, m, v = rng.normal(size=4), np.zeros(4), np.zeros(4)
    theta, history, lr = parameter.copy(), [], 0.05
    for step in range(1, 5):
        gradient = rng.normal(size=4)
        options = {"lr": lr, "beta1": 0.8, "beta2": 0.9, "eps": 1e-3, "weight_decay": weight_decay}
        ref.adam_update(parameter, gradient, m, v, decoupled=decoupled, step=step, **options)
        # The moments are averages of the past gradients, with weights that sum to one.
        history.append(gradient if decoupled else gradient + weight_decay * theta)
        ages = np.arange(step)[::-1, None]
        mean = np.sum(0.8**ages * history, axis=0) / np.sum(0.8**ages)
        mean_square = np.sum(0.9**ages * np.square(history), axis=0) / np.sum(0.9**ages)
        theta = theta * (1 - lr * weight_decay) if decoupled else theta
        theta = theta - lr * mean / (np.sqrt(mean_square) + 1e-3)
        np.testing.assert_allclose(parameter, theta, rtol=64 * EPS, atol=64 * EPS)


def test_the_first_step_of_adam_has_the_size_of_the_learning_rate():
    parameter = np.zeros(3)
    ref.adam_update(parameter, np.array([1e-3, -5.0, 1e4]), np.zeros(3), np.zeros(3), lr=0.1, eps=0, step=1)
    np.testing.assert_allclose(parameter, [-0.1, 0.1, -0.1], rtol=16 * EPS)


# -- every twin: dtype, out= --


def calls(dtype):
    """Every twin that returns one array, by name, with arguments."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.normal(size=shape).astype(dtype)

    x, dy, p = draw(3, 4), draw(3, 4), rng.uniform(0.1, 0.9, (3, 4)).astype(dtype)
    yield from ((name, (x,)) for name in ("relu", "sigmoid", "tanh", "softplus", "gelu"))
    yield from ((name, (x,)) for name in ("softmax", "log_softmax", "logsumexp", "softmax_jacobian"))
    yield from ((f"{name}_backward", (dy, x)) for name in ("relu", "sigmoid", "tanh", "softplus", "gelu"))
    yield from ((f"{name}_backward", (dy, x)) for name in ("softmax", "log_softmax"))
    yield "dense", (x, draw(4, 2), draw(2))
    yield "squared_error_backward", (x, p)
    yield "binary_cross_entropy_backward", (p, p)
    yield "binary_cross_entropy_with_logits_backward", (x, p)
    yield "cross_entropy_backward", (x, np.array([0, 3, 1]))
    yield "cross_entropy_backward", (x, p)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept_and_out_is_filled(dtype):
    for name, arguments in calls(dtype):
        op = getattr(ref, name)
        result = op(*arguments)
        assert result.dtype == dtype, name
        out = np.full_like(result, NAN)
        assert op(*arguments, out=out) is out, name
        np.testing.assert_array_equal(out, result, err_msg=name)


def test_float32_twins_agree_with_float64():
    for name, arguments in calls(np.float32):
        in_double = [a.astype(np.float64) if a.dtype == np.float32 else a for a in arguments]
        found, expected = getattr(ref, name)(*arguments), getattr(ref, name)(*in_double)
        scale = np.max(np.abs(expected))
        assert np.max(np.abs(found - expected)) <= 8 * np.finfo(np.float32).eps * scale, name


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
def test_losses_keep_the_dtype(dtype, reduction):
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(3, 4)).astype(dtype), rng.uniform(0.1, 0.9, (3, 4)).astype(dtype)
    losses = [
        ref.squared_error(z, y, reduction=reduction),
        ref.binary_cross_entropy(y, y, reduction=reduction),
        ref.binary_cross_entropy_with_logits(z, y, reduction=reduction),
        ref.cross_entropy(z, np.array([0, 3, 1]), weight=y[0], label_smoothing=0.1, reduction=reduction),
        ref.cross_entropy(z, y, reduction=reduction),
    ]
    assert all(loss.dtype == dtype for loss in losses)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_of_dense_go_where_they_are_sent(dtype):
    rng = np.random.default_rng(0)
    dy, x, w = (rng.normal(size=shape).astype(dtype) for shape in [(3, 2), (3, 4), (4, 2)])
    expected = ref.dense_backward(dy, x, w)
    assert all(gradient.dtype == dtype for gradient in expected)
    for given in itertools.product([False, True], repeat=3):
        out = tuple(np.full_like(g, NAN) if yes else None for g, yes in zip(expected, given, strict=True))
        for result, gradient, target in zip(
            ref.dense_backward(dy, x, w, out=out), expected, out, strict=True
        ):
            assert target is None or result is target
            np.testing.assert_array_equal(result, gradient)


def test_cross_entropy_with_grad_fills_out():
    logits, out = np.ones((2, 3)), np.empty((2, 3))
    result = ref.cross_entropy_with_grad(logits, np.array([0, 2]), out=out)
    assert result.dlogits is out
    np.testing.assert_array_equal(out, ref.cross_entropy_backward(logits, np.array([0, 2])))
