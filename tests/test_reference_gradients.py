"""Every backward of the twins against central differences, then whole networks derived by hand."""

import itertools

import numpy as np
import pytest

import closedform as cf

ref = cf.reference
EPS = np.finfo(np.float64).eps


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    """Random, of both signs, and never near 0, where relu has its kink."""
    rng = np.random.default_rng([seed, *shape])
    return rng.uniform(0.2, 2, shape) * rng.choice([-1.0, 1.0], shape)


def draw_probability(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).uniform(0.1, 0.9, shape)


def check(f, backward, *inputs: np.ndarray) -> None:
    report = cf.gradcheck(f, backward, inputs)
    assert report, str(report)
    assert report.n_checked == sum(x.size for x in inputs)


# -- dense --

DENSE_SHAPES = [((1, 1), 1), ((3, 4), 5), ((5, 1), 3), ((7, 3), 1), ((2, 3, 4), 2), ((4,), 3), ((0, 3), 2)]


@pytest.mark.parametrize(("x_shape", "H"), DENSE_SHAPES)
def test_dense(x_shape, H):
    x, w, b = draw(*x_shape), draw(x_shape[-1], H), draw(H)
    check(ref.dense, lambda dy, x, w, b: ref.dense_backward(dy, x, w), x, w, b)
    check(ref.dense, lambda dy, x, w: ref.dense_backward(dy, x, w)[:2], x, w)


@pytest.mark.parametrize("needs", [c for n in range(4) for c in itertools.combinations("xwb", n)])
def test_dense_backward_gives_what_is_needed(needs):
    x, w, dy = draw(3, 4), draw(4, 2), draw(3, 2)
    everything = ref.dense_backward(dy, x, w)
    needed = ref.dense_backward(dy, x, w, needs=needs)
    for name, gradient in everything._asdict().items():
        if name[1] in needs:
            np.testing.assert_array_equal(getattr(needed, name), gradient)
        else:
            assert getattr(needed, name) is None


# -- activations --

SHAPES = [(1,), (7,), (3, 4), (2, 1, 3), (0, 3)]
RELU_OPTIONS = [{}, {"slope": 5.0}, {"negative_slope": 0.1}, {"slope": 2.0, "negative_slope": -0.3}]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", RELU_OPTIONS)
def test_relu(shape, options):
    check(lambda x: ref.relu(x, **options), lambda dy, x: ref.relu_backward(dy, x, **options), draw(*shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["softplus", "gelu"])
def test_activation_with_a_backward_from_its_input(name, shape):
    check(getattr(ref, name), getattr(ref, f"{name}_backward"), 2 * draw(*shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_activation_with_a_backward_from_its_output(name, shape):
    f, backward = getattr(ref, name), getattr(ref, f"{name}_backward")
    check(f, lambda dy, x: backward(dy, f(x)), 2 * draw(*shape))


def test_relu_has_derivative_zero_at_zero():
    zeros = np.array([0.0, -0.0])
    assert np.all(ref.relu_backward(np.ones(2), zeros) == 0)
    assert np.all(ref.relu_backward(np.ones(2), zeros, negative_slope=0.1) == 0.1)


# -- softmax and its relatives --

AXES = [((5,), -1), ((3, 4), -1), ((3, 4), 0), ((2, 3, 4), 1), ((4, 1), -1), ((0, 3), -1)]


@pytest.mark.parametrize(("shape", "axis"), AXES)
@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_softmax(shape, axis, temperature):
    options = {"axis": axis, "temperature": temperature}
    check(
        lambda x: ref.softmax(x, **options),
        lambda dy, x: ref.softmax_backward(dy, ref.softmax(x, **options), **options),
        draw(*shape),
    )


@pytest.mark.parametrize(("shape", "axis"), AXES)
def test_log_softmax(shape, axis):
    check(
        lambda x: ref.log_softmax(x, axis=axis),
        lambda dy, x: ref.log_softmax_backward(dy, ref.log_softmax(x, axis=axis), axis=axis),
        draw(*shape),
    )


@pytest.mark.parametrize(("shape", "axis"), AXES)
def test_the_gradient_of_logsumexp_is_softmax(shape, axis):
    check(
        lambda x: ref.logsumexp(x, axis=axis),
        lambda dy, x: np.expand_dims(dy, axis) * ref.softmax(x, axis=axis),
        draw(*shape),
    )


@pytest.mark.parametrize("shape", [(1,), (5,), (3, 4), (2, 3, 4), (0, 3)])
def test_softmax_jacobian(shape):
    def backward(dy, x):  # dx_j = Σ_i dy_i J_ij
        return np.einsum("...i,...ij->...j", dy, ref.softmax_jacobian(ref.softmax(x)))

    check(ref.softmax, backward, draw(*shape))


# -- losses --

REDUCTIONS = ["sum", "mean", "none"]


def check_loss(loss, backward, prediction, **options):
    def upstream_times_gradient(dy, prediction):
        dy = dy if np.ndim(dy) in (0, prediction.ndim) else dy[:, None]  # one dy a row
        return dy * backward(prediction, **options)

    check(lambda prediction: loss(prediction, **options), upstream_times_gradient, prediction)


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 4), (2, 1, 3)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("hard", [True, False])
def test_elementwise_losses(shape, reduction, hard):
    y = draw_probability(*shape, seed=1)
    y = np.round(y) if hard else y
    for name, prediction in {
        "squared_error": draw(*shape),
        "binary_cross_entropy": draw_probability(*shape),
        "binary_cross_entropy_with_logits": 2 * draw(*shape),
    }.items():
        check_loss(getattr(ref, name), getattr(ref, f"{name}_backward"), prediction, y=y, reduction=reduction)


TARGETS = ["labels", "probabilities", "masses"]


def draw_target(kind: str, N: int, K: int) -> np.ndarray:
    rng = np.random.default_rng([2, N, K])
    if kind == "labels":
        return rng.integers(0, K, N)
    mass = rng.uniform(0.1, 1, (N, K))
    return mass / mass.sum(axis=1, keepdims=True) if kind == "probabilities" else mass


def cross_entropy_cases():
    for (N, K), kind, weighted, label_smoothing, reduction in itertools.product(
        [(1, 1), (4, 3), (5, 7)], TARGETS, [False, True], [0.0, 0.2, 1.0], REDUCTIONS
    ):
        options = {"label_smoothing": label_smoothing, "reduction": reduction}
        if weighted:
            options["weight"] = draw_probability(K, seed=3)
        target = draw_target(kind, N, K)
        yield target, K, options
        if kind == "labels" and np.any(target != target[0]):  # with every row ignored, a mean is NaN
            yield target, K, options | {"ignore_index": int(target[0])}


@pytest.mark.parametrize(("target", "K", "options"), list(cross_entropy_cases()))
def test_cross_entropy(target, K, options):
    options = {"target": target, **options}
    N = len(target)
    logits = 2 * draw(N, K)
    check_loss(ref.cross_entropy, ref.cross_entropy_backward, logits, **options)

    loss, dlogits = ref.cross_entropy_with_grad(logits, **options)
    np.testing.assert_array_equal(loss, ref.cross_entropy(logits, **options))
    np.testing.assert_array_equal(dlogits, ref.cross_entropy_backward(logits, **options))


def test_cross_entropy_gradient_is_prediction_minus_target():
    logits, labels = draw(4, 3), np.array([2, 0, 1, 1])
    y_hat, masses = ref.softmax(logits), draw_target("masses", 4, 3)

    def gradient(target):
        return ref.cross_entropy_backward(logits, target, reduction="sum")

    np.testing.assert_allclose(gradient(labels), y_hat - np.eye(3)[labels], rtol=0, atol=2 * EPS)
    # Targets that do not sum to one weigh the prediction by their sum.
    expected = y_hat * masses.sum(axis=1, keepdims=True) - masses
    np.testing.assert_allclose(gradient(masses), expected, rtol=0, atol=8 * EPS)


# -- three networks, every gradient by hand, that of the input included --


def network_parameters(D: int, H: int, K: int) -> list[np.ndarray]:
    return [draw(D, H, seed=4), draw(H, seed=5), draw(H, K, seed=6), draw(K, seed=7)]


@pytest.mark.parametrize(("N", "D", "H", "K"), [(1, 1, 1, 1), (4, 3, 5, 2), (3, 2, 4, 1)])
def test_network_of_relu_and_squared_error(N, D, H, K):
    # ŷ = W₂ · 5 relu(W₁x + b₁) + b₂,  L = ‖y - ŷ‖²
    x, y, parameters = draw(N, D), draw(N, K, seed=1), network_parameters(D, H, K)
    assert np.min(np.abs(ref.dense(x, *parameters[:2]))) > 0.01  # away from the kink

    def loss(x, w1, b1, w2, b2):
        h = ref.relu(ref.dense(x, w1, b1), slope=5.0)
        return ref.squared_error(ref.dense(h, w2, b2), y)

    def backward(dy, x, w1, b1, w2, b2):
        a = ref.dense(x, w1, b1)
        h = ref.relu(a, slope=5.0)
        dy_hat = dy * ref.squared_error_backward(ref.dense(h, w2, b2), y)
        dh, dw2, db2 = ref.dense_backward(dy_hat, h, w2)
        dx, dw1, db1 = ref.dense_backward(ref.relu_backward(dh, a, slope=5.0), x, w1)
        return dx, dw1, db1, dw2, db2

    check(loss, backward, x, *parameters)


@pytest.mark.parametrize("loss_name", ["squared_error", "binary_cross_entropy"])
@pytest.mark.parametrize(("N", "D", "H", "K"), [(1, 1, 1, 1), (4, 3, 5, 2)])
def test_network_of_tanh_and_sigmoid(loss_name, N, D, H, K):
    # ŷ = σ(W₂ · tanh(W₁x + b₁) + b₂)
    x, y, parameters = draw(N, D), draw_probability(N, K, seed=1), network_parameters(D, H, K)
    loss_of, gradient_of = getattr(ref, loss_name), getattr(ref, f"{loss_name}_backward")

    def forward(x, w1, b1, w2, b2):
        h = ref.tanh(ref.dense(x, w1, b1))
        return h, ref.sigmoid(ref.dense(h, w2, b2))

    def backward(dy, x, w1, b1, w2, b2):
        h, y_hat = forward(x, w1, b1, w2, b2)
        dz = ref.sigmoid_backward(dy * gradient_of(y_hat, y), y_hat)
        if (
            loss_name == "binary_cross_entropy"
        ):  # σ' cancels the denominator: dz = ŷ - y, over the mean's count
            np.testing.assert_allclose(dz, dy * (y_hat - y) / y.size, rtol=64 * EPS)
        dh, dw2, db2 = ref.dense_backward(dz, h, w2)
        dx, dw1, db1 = ref.dense_backward(ref.tanh_backward(dh, h), x, w1)
        return dx, dw1, db1, dw2, db2

    check(lambda *point: loss_of(forward(*point)[1], y), backward, x, *parameters)


@pytest.mark.parametrize(("N", "D", "H", "K"), [(1, 2, 1, 2), (4, 3, 5, 6)])
def test_network_of_sigmoid_and_softmax(N, D, H, K):
    # ŷ = softmax(σ(xW₁ + b₁)W₂ + b₂) with cross-entropy. First by the formulas, with no twin's backward.
    x, labels, parameters = draw(N, D), draw_target("labels", N, K), network_parameters(D, H, K)
    assert sum(p.size for p in parameters) == H * (D + K + 1) + K

    def forward(x, w1, b1, w2, b2):
        h = ref.sigmoid(ref.dense(x, w1, b1))
        return h, ref.dense(h, w2, b2)

    def backward(dy, x, w1, b1, w2, b2):
        h, logits = forward(x, w1, b1, w2, b2)
        dlogits = dy * (ref.softmax(logits) - np.eye(K)[labels])  # ŷ - y
        da = dlogits @ w2.T * h * (1 - h)
        return da @ w1.T, x.T @ da, da.sum(axis=0), h.T @ dlogits, dlogits.sum(axis=0)

    def loss(*point):
        return ref.cross_entropy(forward(*point)[1], labels, reduction="sum")

    check(loss, backward, x, *parameters)

    # Then by the twins' backwards.
    def backward_of_twins(dy, x, w1, b1, w2, b2):
        h, logits = forward(x, w1, b1, w2, b2)
        dlogits = dy * ref.cross_entropy_backward(logits, labels, reduction="sum")
        dh, dw2, db2 = ref.dense_backward(dlogits, h, w2)
        dx, dw1, db1 = ref.dense_backward(ref.sigmoid_backward(dh, h), x, w1)
        return dx, dw1, db1, dw2, db2

    for by_hand, by_twins in zip(
        backward(1.0, x, *parameters), backward_of_twins(1.0, x, *parameters), strict=True
    ):
        np.testing.assert_allclose(by_twins, by_hand, rtol=0, atol=64 * EPS)


# -- identities --


def vec(matrix: np.ndarray) -> np.ndarray:
    return matrix.ravel(order="F")  # column under column


def test_vec_of_a_product():
    # vec(AXB) = (Bᵀ ⊗ A) vec(X)
    a, x, b = draw(2, 3), draw(3, 4), draw(4, 5)
    np.testing.assert_allclose(vec(a @ x @ b), np.kron(b.T, a) @ vec(x), rtol=0, atol=64 * EPS)


def test_jacobian_of_a_dense_layer():
    # Y = XW + b:  vec Y = (Wᵀ ⊗ I) vec X + ... = (I ⊗ X) vec W + ...
    # A backward multiplies by the transpose of the Jacobian.
    N, D, H = 3, 4, 2
    x, w, dy = draw(N, D), draw(D, H), draw(N, H)
    dx, dw, db = ref.dense_backward(dy, x, w)
    np.testing.assert_allclose(vec(dx), np.kron(w.T, np.eye(N)).T @ vec(dy), rtol=0, atol=64 * EPS)
    np.testing.assert_allclose(vec(dw), np.kron(np.eye(H), x).T @ vec(dy), rtol=0, atol=64 * EPS)
    np.testing.assert_allclose(db, np.kron(np.eye(H), np.ones((N, 1))).T @ vec(dy), rtol=0, atol=64 * EPS)
