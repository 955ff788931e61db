"""What the catalogue cannot say of boosting: brute force, rounding, rounds of weights, NaN."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import closedform as cf
from closedform._boosting import Stumps
from conftest import same_bits

DTYPES = (np.float32, np.float64)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


@pytest.fixture(params=["compiled", "reference"])
def backend(request):
    with cf.use_backend(request.param):
        yield request.param


def problem(rng, most_rows, dtype=np.float64):
    """Few values, few classes, integer weights, some of them 0: ties of every kind."""
    N, F, K = rng.integers(1, most_rows), rng.integers(1, 5), rng.integers(1, 5)
    values = rng.choice([1, 2, 3, 10, 1000])
    x = rng.integers(-values, values + 1, (N, F)) / 4
    y, w = rng.integers(0, K, N), rng.integers(0, rng.choice([2, 3, 100]), N)
    if not w.any():
        w[:] = 1
    return x.astype(dtype), y, w, int(K)


def brute_force(x, y, w, n_classes):
    """(feature, values on either side of the threshold, classes, error) of the best split, tried one by one."""
    by_class = np.where(y[:, None] == np.arange(n_classes), w[:, None], 0)
    total, best, found = by_class.sum(axis=0), -1, None
    for feature in range(x.shape[1]):
        values = np.unique(x[w > 0, feature])
        left = (x[:, feature] <= values[:-1, None]) @ by_class
        correct = left.max(axis=1) + (total - left).max(axis=1)
        if len(values) > 1 and correct.max() > best:
            i = int(correct.argmax())
            best, around, classes = (
                correct[i],
                values[i : i + 2],
                (left[i].argmax(), (total - left[i]).argmax()),
            )
            found = feature, around, classes
    if found is None:
        best, found = total.max(), (0, (math.inf, math.inf), (total.argmax(),) * 2)
    return *found, (w.sum() - best) / w.sum()


def expect_brute_force(x, y, w, n_classes):
    stump = cf.find_stump(x, y, w, n_classes)
    feature, (a, b), classes, error = brute_force(x, y, w, n_classes)
    assert stump[0] == feature
    assert stump[2:] == (*classes, error)
    assert stump.threshold == (a if math.isinf(a) else (a + b) / 2)


@pytest.mark.parametrize(("problems", "most_rows"), [(1500, 12), (300, 60), (60, 700)])
def test_brute_force_agrees(problems, most_rows, backend):
    rng = np.random.default_rng(most_rows)
    for i in range(problems):
        expect_brute_force(*problem(rng, most_rows, DTYPES[i % 2]))


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(-3, 3), st.integers(-1, 1), st.integers(0, 3), st.integers(0, 2)), min_size=1
    )
)
def test_brute_force_agrees_on_what_hypothesis_thinks_of(rows):
    a = np.array(rows)
    w = a[:, 3] if a[:, 3].any() else a[:, 3] + 1
    expect_brute_force(a[:, :2].astype(float), a[:, 2], w, 4)


def test_repeated_rows_change_nothing():
    """The same split, found in one bin, in bins of a few values, and between bins."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        x, y, w, K = problem(rng, 40)
        want = cf.find_stump(x, y, w, K)
        for times in (3, 40, 700):
            again = rng.permutation(np.repeat(np.arange(len(x)), times))
            assert cf.find_stump(x[again], y[again], w[again], K) == want


def test_rows_of_weight_0_are_as_good_as_not_there(backend):
    rng = np.random.default_rng(1)
    for _ in range(100):
        x, y, w, K = problem(rng, 100)
        assert cf.find_stump(x, y, w, K) == cf.find_stump(x[w > 0], y[w > 0], w[w > 0], K)


def test_weights_default_to_ones(backend):
    x, y, _, K = problem(np.random.default_rng(2), 100)
    assert cf.find_stump(x, y, None, K) == cf.find_stump(x, y, np.ones(len(x)), K)


@every_dtype
def test_threshold_divides_neighbours(dtype, backend):
    f = np.finfo(dtype)
    tiny, big, one = f.smallest_subnormal, f.max, dtype(1)
    pairs = [
        (one, np.nextafter(one, dtype(2))),
        (0, tiny),
        (-tiny, 0),
        (tiny, 2 * tiny),
        (3 * tiny, 4 * tiny),
    ]
    pairs += [(-big, big), (big / 2, big), (-np.inf, -big), (-np.inf, np.inf), (big, np.inf), (1.5, 2.25)]
    for a, b in pairs:
        a, b = dtype(a), dtype(b)
        stump = cf.find_stump(np.array([[a], [b], [a], [b]]), [0, 1, 0, 1], np.ones(4), 2)
        t = dtype(stump.threshold)
        assert t == stump.threshold
        assert a <= t < b
        assert stump[2:] == (0, 1, 0.0)
    assert stump.threshold == 1.875  # of the last pair, in the middle


def test_both_zeros_are_one_value(backend):
    stump = cf.find_stump([[0.0], [-0.0], [0.0], [-0.0]], [0, 1, 0, 1], None, 2)
    assert stump == (0, math.inf, 0, 0, 0.5)


@pytest.mark.parametrize("K", [2, 7])
def test_random_weights(K):
    """What is found is within rounding of the best, and its error that of the stump as it is."""
    rng = np.random.default_rng(K)
    for N in (30, 1000, 20_000):
        x, y, w = rng.standard_normal((N, 3)), rng.integers(0, K, N), rng.exponential(size=N) ** 3
        stump = cf.find_stump(x, y, w, K)
        predicted = np.where(x[:, stump.feature] <= stump.threshold, stump.left_class, stump.right_class)
        assert abs(stump.error - w[predicted != y].sum() / w.sum()) <= 1e-13
        assert abs(stump.error - cf.reference.find_stump(x, y, w, K).error) <= 1e-13


@pytest.mark.parametrize("w", [np.full(6, 5e-324), np.ldexp(np.arange(6.0), 1019), np.arange(6) % 3 * 5e-324])
def test_weights_at_the_ends_of_the_range(w):
    x, y = np.arange(6.0)[:, None], np.array([0, 0, 0, 1, 0, 1])
    share = w / w[w > 0].min()
    assert cf.find_stump(x, y, w, 2) == cf.find_stump(x, y, share, 2)


# -- rounds --


def boost(x, y, n_classes, rounds, w, **options):
    """Weights after some rounds of the driver, and the stumps."""
    stumps, found = Stumps(x, y, n_classes, **options), []
    for _ in range(rounds):
        *stump, error = stumps.find(w)
        a = cf.samme_alpha(error, n_classes)
        right, wrong = math.exp(-a), math.exp(a / (n_classes - 1))
        scale = (1 - error) * right + error * wrong
        before = w.copy()
        stumps.reweigh(w, *stump, right / scale, wrong / scale)
        feature, threshold, left_class, right_class = stump
        goes_right = x[:, feature] > threshold  # NaN does not
        correct = np.where(goes_right, right_class, left_class) == y
        assert same_bits(w, before * np.where(correct, right / scale, wrong / scale))
        found.append((*stump, error))
    return found


def data(N, F, K, seed=0):
    """A normal feature, some of a few values, and one with an atom."""
    rng = np.random.default_rng([N, F, K, seed])
    x = rng.standard_normal((N, F))
    x[:, 1::3] = np.round(2 * x[:, 1::3])
    x[:, 2::3] = np.maximum(x[:, 2::3], 0)
    y = (np.abs(x).sum(axis=1) * K / F + rng.standard_normal(N)).astype(int) % K
    return x, y


@pytest.mark.parametrize(("N", "K"), [(50, 2), (3000, 3), (30_000, 2)])
def test_rounds(N, K):
    """The weights stay what the stumps say, their sum stays, and each stump is useless to the next round."""
    x, y = data(N, 6, K)
    for dtype in DTYPES:
        w = np.full(N, 1 / N)
        found = boost(x.astype(dtype), y, K, 12, w)
        assert abs(w.sum() - 1) <= 1e-12
        assert len(set(found)) > 1
        feature, threshold, left_class, right_class, _ = found[-1]
        predicted = np.where(x.astype(dtype)[:, feature] <= threshold, left_class, right_class)
        assert abs(w[predicted != y].sum() - (1 - 1 / K)) <= 1e-12


def test_bits_do_not_depend_on_threads():
    x, y = data(20_000, 7, 3)
    results = []
    for n in (1, 2, 3, 7):
        with cf.num_threads(n):
            w = np.random.default_rng(0).random(len(x))
            results.append((boost(x, y, 3, 8, w), w.tobytes()))
    assert all(result == results[0] for result in results)


def test_reweigh_takes_any_threshold():
    x, y = data(5000, 3, 2)
    for column in range(3):
        for threshold in (-math.inf, -5.0, *x[[0, 17, 99], column], 0.0, 0.123, 1e-300, 9.0, math.inf):
            w = np.ones(len(x))
            Stumps(x, y, 2).reweigh(w, column, threshold, 1, 0, 0.5, 3.0)
            assert same_bits(w, np.where((x[:, column] <= threshold) == (y == 1), 0.5, 3.0))


@every_dtype
def test_missing_values_go_left(dtype):
    x, y = data(2000, 4, 3)
    x = x.astype(dtype)
    rng = np.random.default_rng(3)
    x[rng.random(x.shape) < 0.2] = np.nan
    x[y == 1, 3] = np.nan  # NaN alone tells something
    x[0, 0] = -np.inf
    lowest = np.where(np.isnan(x), dtype(-np.inf), x)
    w = np.full(len(x), 1 / len(x))
    found = boost(x, y, 3, 10, w, missing_left=True)
    assert found == boost(lowest, y, 3, 10, np.full(len(x), 1 / len(x)))
    assert found[0][:3] == (3, -math.inf, 1)


def test_nan_is_refused():
    x, y = data(300, 3, 2)
    x[299, 2] = np.nan
    for sign in (1, -1):
        x[299, 2] = math.copysign(math.nan, sign)
        with pytest.raises(ValueError, match="x: expected no NaN"):
            Stumps(x, y, 2)


def test_the_compiled_module_refuses_what_the_wrapper_never_passes():
    x, y = data(30, 3, 2)
    for args in (
        (x, y[1:], 2),
        (x, y, 1),
        (x, y - 1, 2),
        (x[:0], y[:0], 2),
        (x[:, :0], y, 2),
        (x[0], y, 2),
        (x.T, y, 2),
    ):
        with pytest.raises(ValueError, match=r"Stumps|contiguous"):
            Stumps(*args, 2)
    stumps, w = Stumps(x, y, 2), np.ones(30)
    for bad in (w[1:], -w, w * np.nan, w * np.inf, w * 0):
        with pytest.raises(ValueError, match="find: sample_weight"):
            stumps.find(bad)
    for bad, feature in ((w[1:], 0), (w, 3), (w, -1)):
        with pytest.raises(ValueError, match="reweigh"):
            stumps.reweigh(bad, feature, 0.0, 0, 1, 1.0, 1.0)


# -- samme_alpha --


@pytest.mark.parametrize("K", [2, 3, 10, 1000])
@pytest.mark.parametrize("error", [1e-9, 0.1, 0.5, 0.9, 1 - 1e-9])
def test_alpha_is_where_the_loss_is_least(K, error, backend):
    """Z(α) = ε e^{α/(K−1)} + (1 − ε) e^{−α} is convex: its derivative vanishes there and nowhere else."""
    a = cf.samme_alpha(error, K)
    falls, rises = (1 - error) * math.exp(-a), error / (K - 1) * math.exp(a / (K - 1))
    assert abs(falls - rises) <= 1e-13 * (1 + abs(a)) * rises
    assert (a > 0) == (error < 1 - 1 / K)


def test_alpha_of_two_classes_is_half_the_log_odds(backend):
    for error in (0.01, 0.3, 0.7):
        assert cf.samme_alpha(error, 2) == pytest.approx(0.5 * math.log((1 - error) / error), rel=1e-15)
    assert cf.samme_alpha(0.5, 2) == 0


@pytest.mark.parametrize("K", [2, 3, 10])
def test_alpha_of_a_guess_is_0_and_of_no_error_finite(K):
    assert abs(cf.samme_alpha(1 - 1 / K, K)) <= 4e-16
    eps = np.finfo(np.float64).eps
    assert cf.samme_alpha(0, K) == cf.samme_alpha(eps, K) > cf.samme_alpha(2 * eps, K)
    assert cf.samme_alpha(1, K) == cf.samme_alpha(1 - eps, K) < cf.samme_alpha(1 - 2 * eps, K)


@pytest.mark.parametrize(
    ("error", "K", "kind", "name"),
    [(-0.1, 2, ValueError, "error"), (1.1, 2, ValueError, "error"), (math.nan, 2, ValueError, "error"),
     ("0.1", 2, TypeError, "error"), (None, 2, TypeError, "error"), (0.1, 1, ValueError, "n_classes"),
     (0.1, 2.0, TypeError, "n_classes"), (0.1, True, TypeError, "n_classes")],
)  # fmt: skip
def test_alpha_refuses(error, K, kind, name):
    with pytest.raises(kind, match=f"^{name}: expected"):
        cf.samme_alpha(error, K)
