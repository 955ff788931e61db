"""`gradcheck` itself: it passes what is right, and catches the slips that are made in deriving gradients."""

import re

import numpy as np
import pytest

import closedform as cf

ref = cf.reference


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    """Random, of both signs, and never near 0."""
    rng = np.random.default_rng([seed, *shape])
    return rng.uniform(0.3, 1.5, shape) * rng.choice([-1.0, 1.0], shape)


# -- what is right passes --


def test_right_gradients_pass_far_below_the_tolerance():
    x, w, b = draw(3, 4), draw(4, 2), draw(2)
    report = cf.gradcheck(ref.dense, lambda dy, x, w, b: ref.dense_backward(dy, x, w), (x, w, b))
    assert report
    assert report.passed
    assert report.n_checked == x.size + w.size + b.size
    assert report.error <= 1e-3 * report.tolerance


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_steps_follow_the_size_of_the_point(scale):
    x = draw(5) * scale
    report = cf.gradcheck(
        lambda x: np.sin(x / scale), lambda dy, x: dy * np.cos(x / scale) / scale, [x], atol=0
    )
    assert report
    assert report.error <= 1e-3 * report.tolerance


def test_scalar_loss_has_a_scalar_upstream():
    x = draw(2, 3)

    def backward(dy, x):
        assert np.ndim(dy) == 0
        assert dy != 1
        return dy * 2 * x

    assert cf.gradcheck(lambda x: np.sum(x**2), backward, [x])
    assert cf.gradcheck(lambda x: float(np.sum(x**2)), backward, [x])


def test_a_trace_counts_by_its_first_field():
    x = draw(2, 3)
    assert cf.gradcheck(lambda x: (np.sin(x), "kept"), lambda dy, x: dy * np.cos(x), [x])


def test_none_skips_an_input():
    x, w = draw(3, 4), draw(4, 2)
    report = cf.gradcheck(ref.dense, lambda dy, x, w: (None, ref.dense_backward(dy, x, w).dw), [x, w])
    assert report
    assert report.n_checked == w.size
    assert report.worst_input == 1


def test_zero_dimensional_and_empty_inputs():
    assert cf.gradcheck(np.sin, lambda dy, x: dy * np.cos(x), [0.3])
    report = cf.gradcheck(np.sin, lambda dy, x: dy * np.cos(x), [np.zeros((0, 3))])
    assert report
    assert report.n_checked == 0
    assert report.worst_input is None
    assert str(report) == "gradcheck passed, 0 entries compared"


def test_float32_integers_and_lists_are_converted():
    for x in (draw(3).astype(np.float32), np.array([1, 2, 3]), [1.0, -2.0]):
        assert cf.gradcheck(np.sin, lambda dy, x: dy * np.cos(x), [x])


def test_output_that_is_the_input_itself():
    assert cf.gradcheck(lambda x: x, lambda dy, x: dy, [draw(3)])
    assert not cf.gradcheck(lambda x: x, lambda dy, x: 2 * dy, [draw(3)])


def test_inputs_are_never_modified_even_by_a_careless_f():
    x, w = draw(3), draw(3, seed=1)
    kept = x.copy(), w.copy()

    def f(x, w):
        x *= w  # in place
        return x

    assert cf.gradcheck(f, lambda dy, x, w: (dy * w, dy * x), [x, w])
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(w, kept[1])


def test_seed_fixes_the_upstream_gradient():
    seen = []

    def backward(dy, x):
        seen.append(dy)
        return dy * np.cos(x)

    for seed in (0, 0, 1):
        assert cf.gradcheck(np.sin, backward, [draw(2, 4)], seed=seed)
    np.testing.assert_array_equal(seen[0], seen[1])
    assert np.all(seen[0] != seen[2])
    assert np.all(np.abs(seen[0]) >= 0.5)
    assert len(np.unique(np.abs(seen[0]))) == seen[0].size


# -- what is wrong does not --


def dense(dx=None, dw=None, db=None):
    """A backward of dense with one gradient replaced by a wrong one."""

    def backward(dy, x, w, b):
        right = ref.dense_backward(dy, x, w)
        return tuple(
            good if wrong is None else wrong(dy, x, w)
            for good, wrong in zip(right, (dx, dw, db), strict=True)
        )

    return backward


@pytest.mark.parametrize(
    ("backward", "worst_input"),
    [
        (dense(dx=lambda dy, x, w: -dy @ w.T), 0),  # sign
        (dense(dx=lambda dy, x, w: dy @ w), 0),  # Wᵀ forgotten (W is square here)
        (dense(dx=lambda dy, x, w: 1.00001 * dy @ w.T), 0),  # right but for the last digits
        (dense(dw=lambda dy, x, w: dy.T @ x), 1),  # the transposed product
        (dense(dw=lambda dy, x, w: x.T @ dy / len(x)), 1),  # a 1/N too many
        (dense(db=lambda dy, x, w: dy.mean(axis=0)), 2),
        (dense(db=lambda dy, x, w: dy[0]), 2),  # one row for the sum of the rows
    ],
)
def test_wrong_gradients_of_dense_are_caught(backward, worst_input):
    report = cf.gradcheck(ref.dense, backward, [draw(5, 3), draw(3, 3), draw(3)])
    assert not report
    assert report.worst_input == worst_input
    assert report.error > report.tolerance
    assert f"input {worst_input} at {report.worst_entry}" in str(report)


@pytest.mark.parametrize(
    ("f", "backward"),
    [
        (np.tanh, lambda dy, x: dy * (1 - np.tanh(x**2))),  # the square belongs outside
        (ref.sigmoid, lambda dy, x: dy * ref.sigmoid(x)),  # (1 - σ) forgotten
        (lambda x: ref.relu(x, slope=5.0), lambda dy, x: ref.relu_backward(dy, x)),  # the slope forgotten
        (lambda x: np.mean(x**2), lambda dy, x: dy * 2 * x),  # the 1/N forgotten
        (ref.softmax, lambda dy, x: dy * ref.softmax(x) * (1 - ref.softmax(x))),  # the diagonal alone
        (ref.log_softmax, lambda dy, x: dy - ref.softmax(x)),  # the sum over dy forgotten
    ],
)
def test_classical_slips_are_caught(f, backward):
    assert not cf.gradcheck(f, backward, [draw(4, 3)])


def test_a_single_wrong_entry_is_found():
    def backward(dy, x, w):
        dx, dw = dy * w, dy * x
        dw[1, 2] += 1e-5
        return dx, dw

    x, w = draw(2, 3), draw(2, 3, seed=1)
    report = cf.gradcheck(np.multiply, backward, [x, w])
    assert not report
    assert (report.worst_input, report.worst_entry) == (1, (1, 2))
    assert report.analytic - report.numeric == pytest.approx(1e-5, rel=1e-4)
    pattern = (
        r"gradcheck FAILED, 12 entries compared; worst is input 1 at \(1, 2\): "
        r"analytic -?[\d.]+, numeric -?[\d.]+, error 1e-05, tolerance [\d.e-]+"
    )
    assert re.fullmatch(pattern, str(report))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_gradients_fail(bad):
    def backward(dy, x):
        dx = dy * np.cos(x)
        dx[1] = bad
        return dx

    report = cf.gradcheck(np.sin, backward, [draw(3)])
    assert not report
    assert report.worst_entry == (1,)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_derivatives_fail_whatever_backward_says(bad):
    for claim in (0.0, bad):
        assert not cf.gradcheck(lambda x: x * bad, lambda dy, x, claim=claim: dy * claim, [draw(3)])


def test_a_failure_outranks_a_pass():
    # Entry 0 passes with an error of tolerance 0; entry 1 fails.
    report = cf.gradcheck(lambda x: x * 0.0, lambda dy, x: np.array([0.0, 1e-9]), [draw(2)], rtol=0, atol=0)
    assert not report
    assert report.worst_entry == (1,)


# -- what cannot be checked says why --


@pytest.mark.parametrize(
    "bad", [np.array([1j]), np.array(["a"]), np.array([None]), np.array([1], np.longdouble)]
)
def test_inputs_that_do_not_fit_float64(bad):
    with pytest.raises(TypeError, match=r"input 1: expected real numbers that fit float64; got dtype"):
        cf.gradcheck(np.multiply, lambda dy, x, w: (dy, dy), [draw(1), bad])


def test_inputs_that_are_no_sequence():
    with pytest.raises(TypeError, match=r"inputs: expected a sequence, such as \(x,\).*; got ndarray"):
        cf.gradcheck(np.sin, lambda dy, x: dy, draw(3))
    with pytest.raises(ValueError, match=r"inputs: expected at least one array"):
        cf.gradcheck(np.sin, lambda dy, x: dy, [])


def test_output_of_lower_precision():
    with pytest.raises(TypeError, match=r"f: expected a float64 output.*; got float32"):
        cf.gradcheck(lambda x: np.sin(x).astype(np.float32), lambda dy, x: dy, [draw(3)])


def test_wrong_count_shape_or_kind_of_gradients():
    x, w = draw(3, 4), draw(4, 2)
    with pytest.raises(ValueError, match=r"backward: expected 2 gradients, one an input; got 3"):
        cf.gradcheck(ref.dense, lambda dy, x, w: ref.dense_backward(dy, x, w), [x, w])
    with pytest.raises(ValueError, match=r"backward: expected 2 gradients, one an input; got 1"):
        cf.gradcheck(ref.dense, lambda dy, x, w: dy @ w.T, [x, w])
    with pytest.raises(ValueError, match=r"shape \(4, 2\) for input 1; got \(2, 4\)"):
        cf.gradcheck(ref.dense, lambda dy, x, w: (dy @ w.T, dy.T @ x), [x, w])
    with pytest.raises(ValueError, match=r"for at least one input; got None for every one"):
        cf.gradcheck(ref.dense, lambda dy, x, w: (None, None), [x, w])
    with pytest.raises(TypeError, match=r"real numbers for input 0; got complex128"):
        cf.gradcheck(np.sin, lambda dy, x: dy * 1j, [x])


@pytest.mark.parametrize("name", ["rtol", "atol"])
@pytest.mark.parametrize("bad", [-1e-6, float("nan")])
def test_tolerances_are_not_negative(name, bad):
    with pytest.raises(ValueError, match=rf"{name}: expected a number >= 0; got"):
        cf.gradcheck(np.sin, lambda dy, x: dy * np.cos(x), [draw(3)], **{name: bad})
