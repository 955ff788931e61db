"""Layers: gradients, shapes, memory, errors."""

import copy
import pickle

import numpy as np
import pytest

import closedform as cf
from closedform import nn

BACKENDS = ("compiled", "reference")


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    """Random, of both signs, and never near 0, where relu has its kink."""
    rng = np.random.default_rng([seed, *shape])
    return rng.uniform(0.2, 2, shape) * rng.choice([-1.0, 1.0], shape)


def check_gradients(model: nn.Layer, x: np.ndarray) -> None:
    """dx and the gradient of every parameter, against central differences."""
    parameters = model.parameters()
    point = [x, *(p.copy() for p in parameters.values())]

    def f(x, *values):
        for p, value in zip(parameters.values(), values, strict=True):
            p[...] = value
        return model.forward(x, training=True).copy()

    def backward(dy, x, *values):
        f(x, *values)
        dx = model.backward(dy)
        return [dx, *model.gradients().values()]

    report = cf.gradcheck(f, backward, point)
    assert report, str(report)
    assert report.n_checked == sum(a.size for a in point)


# -- gradients --

ACTIVATIONS = [
    nn.ReLU(),
    nn.ReLU(slope=5),
    nn.ReLU(negative_slope=0.1),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.Softplus(),
    nn.GELU(),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_gradients_through_each_activation(activation, backend):
    model = nn.Sequential(
        nn.Dense(4, 5, dtype=np.float64), activation, nn.Dense(5, 3, dtype=np.float64), seed=1
    )
    with cf.use_backend(backend):
        check_gradients(model, draw(6, 4))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Dense(4, 3, dtype="float64", seed=0), (5, 4)),
        (nn.Dense(4, 3, bias=False, dtype="float64", seed=0), (5, 4)),
        (nn.Dense(4, 3, dtype="float64", seed=0), (2, 3, 4)),
        (nn.Dense(1, 1, dtype="float64", seed=0), (1, 1)),
        (nn.Sequential(nn.Flatten(), nn.Dense(12, 2, dtype="float64"), seed=0), (5, 2, 3, 2)),
        (nn.Sequential(nn.Sequential(nn.Dense(4, 3, dtype="float64")), nn.Tanh(), seed=0), (5, 4)),
    ],
)
def test_gradients_of_other_models(model, shape, backend):
    with cf.use_backend(backend):
        check_gradients(model, draw(*shape))


def test_gradients_through_dropout():
    dropout = nn.Dropout(0.4)
    model = nn.Sequential(nn.Dense(4, 8, dtype="float64"), dropout, nn.Dense(8, 3, dtype="float64"), seed=0)
    forward = model.forward

    def same_mask_forward(x, training=False):
        dropout.reseed(np.random.default_rng(3))
        return forward(x, training)

    model.forward = same_mask_forward
    check_gradients(model, draw(5, 4))


def test_backward_parameters_gives_the_same_gradients():
    model = nn.Sequential(nn.Flatten(), nn.Dense(4, 5), nn.ReLU(), nn.Dense(5, 3), seed=0)
    x, dy = draw(7, 2, 2).astype(np.float32), draw(7, 3).astype(np.float32)
    model.forward(x, training=True)
    model.backward(dy)
    expected = {name: g.copy() for name, g in model.gradients().items()}
    for g in model.gradients().values():
        g.fill(np.nan)
    model.backward_parameters(dy)
    for name, g in model.gradients().items():
        np.testing.assert_array_equal(g, expected[name])


def test_the_first_dense_layer_is_not_asked_for_dx(monkeypatch):
    model = nn.Sequential(nn.Flatten(), nn.Dense(4, 5), nn.ReLU(), seed=0)
    monkeypatch.setattr(nn.Dense, "backward", lambda self, dy: pytest.fail("dx computed"))
    nn.train_step(model, nn.SquaredError(), nn.SGD(0.1), draw(3, 2, 2), draw(3, 5))


# -- the networks of the specification, written by hand --


@pytest.mark.parametrize("backend", BACKENDS)
def test_network_5relu_squared_error(backend):
    x, y = draw(6, 4), draw(6, 2, seed=1)
    model = nn.Sequential(
        nn.Dense(4, 5, dtype="float64"), nn.ReLU(slope=5), nn.Dense(5, 2, dtype="float64"), seed=0
    )
    w1, b1, w2, b2 = model.parameters().values()
    b1[...], b2[...] = draw(5), draw(2)
    with cf.use_backend(backend):
        loss, dy_hat = nn.SquaredError().with_grad(model.forward(x, training=True), y)
        dx = model.backward(dy_hat)
    a = x @ w1 + b1
    h = 5 * np.maximum(a, 0)
    y_hat = h @ w2 + b2
    d2 = 2 * (y_hat - y)
    d1 = d2 @ w2.T * 5 * (a > 0)
    np.testing.assert_allclose(loss, np.sum((y_hat - y) ** 2), rtol=1e-13)
    for got, expected in zip(
        (dx, *model.gradients().values()), (d1 @ w1.T, x.T @ d1, d1.sum(0), h.T @ d2, d2.sum(0)), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("loss_name", ["squared_error", "bce", "bce_from_logits"])
def test_network_tanh_sigmoid(loss_name, backend):
    x = draw(6, 4)
    y = np.random.default_rng(0).integers(0, 2, (6, 3)).astype(float)
    layers = [nn.Dense(4, 5, init="glorot", dtype="float64"), nn.Tanh(), nn.Dense(5, 3, dtype="float64")]
    loss = {
        "squared_error": nn.SquaredError(),
        "bce": nn.BinaryCrossEntropy(),
        "bce_from_logits": nn.BinaryCrossEntropy(from_logits=True),
    }[loss_name]
    model = nn.Sequential(layers if loss_name == "bce_from_logits" else [*layers, nn.Sigmoid()], seed=0)
    w1, b1, w2, b2 = model.parameters().values()
    with cf.use_backend(backend):
        _, dy_hat = loss.with_grad(model.forward(x, training=True), y)
        dx = model.backward(dy_hat)
    h = np.tanh(x @ w1 + b1)
    y_hat = 1 / (1 + np.exp(-(h @ w2 + b2)))
    d2 = 2 * (y_hat - y) * y_hat * (1 - y_hat) if loss_name == "squared_error" else (y_hat - y) / y.size
    d1 = d2 @ w2.T * (1 - h**2)
    for got, expected in zip(
        (dx, *model.gradients().values()), (d1 @ w1.T, x.T @ d1, d1.sum(0), h.T @ d2, d2.sum(0)), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
def test_network_sigmoid_softmax_and_its_input_gradient(backend):
    D, H, K = 4, 5, 3
    x, y = draw(6, D), np.eye(K)[[0, 1, 2, 2, 1, 0]]
    model = nn.Sequential(
        nn.Dense(D, H, dtype="float64"), nn.Sigmoid(), nn.Dense(H, K, dtype="float64"), seed=0
    )
    w1, b1, w2, b2 = model.parameters().values()
    assert model.n_parameters == H * (D + K + 1) + K
    with cf.use_backend(backend):
        _, dy_hat = nn.CrossEntropy(reduction="sum").with_grad(model.forward(x, training=True), y)
        dx = model.backward(dy_hat)
    h = 1 / (1 + np.exp(-(x @ w1 + b1)))
    e = np.exp(h @ w2 + b2)
    y_hat = e / e.sum(1, keepdims=True)
    np.testing.assert_allclose(dx, ((y_hat - y) @ w2.T * h * (1 - h)) @ w1.T, rtol=1e-11, atol=1e-14)


# -- memory --


def addresses(model: nn.Sequential) -> list[int]:
    return [a.__array_interface__["data"][0] for a in model.gradients().values()]


def test_memory_is_used_again_from_step_to_step():
    model = nn.Sequential(nn.Dense(6, 5), nn.ReLU(), nn.Dropout(0.5), nn.Dense(5, 3), nn.Tanh(), seed=0)
    x, dy = draw(8, 6).astype(np.float32), draw(8, 3).astype(np.float32)

    def step(n):
        outputs, y = [], x[:n]
        for layer in model.layers:
            y = layer.forward(y, training=True)
            outputs.append(y)
        d = dy[:n]
        for layer in reversed(model.layers):
            d = layer.backward(d)
            outputs.append(d)
        assert [len(a) for a in outputs] == [n] * len(outputs)
        return [a.__array_interface__["data"][0] for a in outputs] + addresses(model)

    first = step(8)
    assert len(set(first)) == len(first)
    assert step(8) == first
    assert step(3) == first  # the last, smaller batch of an epoch takes a slice
    assert step(8) == first


def test_smaller_and_larger_batches_give_what_a_new_model_gives():
    used = nn.Sequential(nn.Dense(6, 5), nn.Sigmoid(), nn.Dense(5, 3), seed=0)
    for n in (4, 2, 7, 0, 1):
        new = nn.Sequential(nn.Dense(6, 5), nn.Sigmoid(), nn.Dense(5, 3), seed=0)
        x, dy = draw(n, 6).astype(np.float32), draw(n, 3).astype(np.float32)
        np.testing.assert_array_equal(used.forward(x, training=True), new.forward(x, training=True))
        np.testing.assert_array_equal(used.backward(dy), new.backward(dy))
        for g, expected in zip(used.gradients().values(), new.gradients().values(), strict=True):
            np.testing.assert_array_equal(g, expected)


@pytest.mark.parametrize(
    "layer", [nn.Dense(4, 4), nn.ReLU(), nn.Sequential(nn.Tanh(), nn.Sigmoid())], ids=repr
)
def test_inference_returns_new_arrays_and_leaves_the_layer_alone(layer):
    x, z = draw(3, 4).astype(np.float32), draw(3, 4, seed=1).astype(np.float32)
    trained = layer.forward(x, training=True)
    before = trained.copy()
    a, b = layer(z), layer.forward(z)
    assert not any(np.shares_memory(p, q) for p, q in ((a, b), (a, trained), (a, z)))
    np.testing.assert_array_equal(trained, before)
    np.testing.assert_array_equal(layer.forward(x), before)


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_apart_and_work(copier):
    model = nn.Sequential(nn.Dense(4, 3), nn.ReLU(), nn.Dropout(0.2), nn.Dense(3, 2), seed=0)
    x, y = draw(5, 4).astype(np.float32), draw(5, 2).astype(np.float32)
    nn.train_step(model, nn.SquaredError(), nn.SGD(0.1), x, y)
    other = copier(model)
    a = nn.train_step(model, nn.SquaredError(), nn.SGD(0.1), x, y)
    assert nn.train_step(other, nn.SquaredError(), nn.SGD(0.1), x, y) == a
    for p, q in zip(model.parameters().values(), other.parameters().values(), strict=True):
        np.testing.assert_array_equal(p, q)
        assert not np.shares_memory(p, q)


# -- dtypes --


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("given", [np.uint8, np.int64, np.float32, np.float64, bool])
def test_dense_computes_in_its_own_dtype(given, dtype, training):
    layer = nn.Dense(4, 3, dtype=dtype, seed=0)
    x = np.random.default_rng(0).integers(0, 2, (5, 4)).astype(given)
    y = layer.forward(x, training=training)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, x.astype(dtype) @ layer.w, rtol=1e-5, atol=1e-6)
    if training:
        assert layer.backward(np.ones((5, 3))).dtype == dtype


def test_lists_and_strides_are_accepted():
    model = nn.Sequential(nn.Dense(2, 3), nn.Tanh(), seed=0)
    np.testing.assert_array_equal(model.forward([[1, 2]], training=True), model([[1, 2]]))
    x = np.asfortranarray(draw(4, 4).astype(np.float32))[::2, ::-2]
    np.testing.assert_array_equal(model.forward(x, training=True), model(x.copy()))


# -- starting values --


def test_initial_weights():
    D, H = 400, 300
    assert nn.Dense(D, H, seed=0).w.std() == pytest.approx(np.sqrt(2 / D), rel=0.01)
    assert nn.Dense(D, H, init="glorot", seed=0).w.std() == pytest.approx(np.sqrt(2 / (D + H)), rel=0.01)
    assert not nn.Dense(D, H, init="zeros").w.any()
    assert not nn.Dense(D, H, seed=0).b.any()
    np.testing.assert_array_equal(nn.Dense(5, 4, seed=3).w, nn.Dense(5, 4, seed=np.random.default_rng(3)).w)
    assert not np.array_equal(nn.Dense(5, 4).w, nn.Dense(5, 4).w)


def test_sequential_seed_draws_everything_anew():
    def build(seed):
        return nn.Sequential(nn.Dense(5, 4), nn.Dropout(0.5), nn.Dense(4, 4), seed=seed)

    a, b, c = build(0), build(0), build(1)
    x = draw(9, 5).astype(np.float32)
    np.testing.assert_array_equal(a.forward(x, training=True), b.forward(x, training=True))
    assert not np.array_equal(a.forward(x), c.forward(x))
    assert not np.array_equal(a[0].w[:4], a[2].w)  # each layer draws from its own stream


# -- dropout --


def test_dropout():
    x = np.full((100, 200), 3, np.float32)
    layer = nn.Dropout(0.25, seed=0)
    y = layer.forward(x, training=True)
    assert set(np.unique(y)) == {0, 4}
    assert np.mean(y == 0) == pytest.approx(0.25, abs=0.01)
    np.testing.assert_array_equal(layer.backward(np.ones_like(x)), y / 3)
    np.testing.assert_array_equal(layer.forward(x), x)
    np.testing.assert_array_equal(nn.Dropout(0.0).forward(x, training=True), x)
    np.testing.assert_array_equal(nn.Dropout(1.0).forward(x, training=True), 0 * x)
    np.testing.assert_array_equal(nn.Dropout(0.25, seed=0).forward(x, training=True), y)


# -- what people see --


def test_repr_counts_parameters():
    model = nn.Sequential(
        nn.Flatten(),
        nn.Dense(784, 128),
        nn.ReLU(slope=5),
        nn.Dropout(0.5),
        nn.Sequential(nn.Dense(128, 10, bias=False, dtype="float64"), nn.Tanh()),
    )
    assert (
        repr(model)
        == """\
Sequential(
  0: Flatten()
  1: Dense(784, 128)  100,480
  2: ReLU(slope=5)
  3: Dropout(0.5)
  4: Sequential(
    0: Dense(128, 10, bias=False, dtype=float64)  1,280
    1: Tanh()
  )  1,280 parameters
)  101,760 parameters"""
    )
    assert list(model.parameters()) == list(model.gradients()) == ["1.w", "1.b", "4.0.w"]
    assert len(model) == 5
    assert isinstance(model[0], nn.Flatten)


def test_parameters_are_live():
    model = nn.Sequential(nn.Dense(2, 2))
    model.parameters()["0.w"][...] = np.eye(2)
    np.testing.assert_array_equal(model([[3.0, 4.0]]), [[3, 4]])


# -- mistakes --

LAYERS = [nn.Dense(4, 4), *ACTIVATIONS, nn.Dropout(0.5), nn.Flatten()]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_backward_before_forward(layer):
    layer = copy.deepcopy(layer)
    layer = type(layer)(**layer.config())
    layer.forward(draw(3, 4))  # inference does not count
    with pytest.raises(RuntimeError, match=r"backward needs a forward\(x, training=True\)"):
        layer.backward(draw(3, 4))
    with pytest.raises(RuntimeError, match="backward needs"):
        nn.Sequential(layer).backward(draw(3, 4))


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_backward_of_the_wrong_shape(layer):
    layer.forward(draw(3, 4), training=True)
    with pytest.raises(ValueError, match=r"dy: expected.*\(3, 4\).*got \(4, 3\)"):
        layer.backward(draw(4, 3))


@pytest.mark.parametrize("training", [False, True])
def test_errors_name_the_layer(training):
    model = nn.Sequential(nn.Dense(4, 5), nn.ReLU(), nn.Dense(6, 3))
    with pytest.raises(
        ValueError, match=r"layer 2, Dense: x: expected shape \(\.\.\., 6\).*Dense\(6, 3\); got \(2, 5\)"
    ):
        model.forward(draw(2, 4), training)
    with pytest.raises(TypeError, match=r"layer 0, Dense: x: .*complex"):
        model.forward(np.ones((2, 4), complex), training)
    with pytest.raises(ValueError, match=r"layer 0, Dense: x: expected shape \(\.\.\., 4\)"):
        model.forward(3.0, training)
    with pytest.raises(ValueError, match="layer 1, Sequential: layer 0, Dense: x: expected"):
        nn.Sequential(nn.ReLU(), nn.Sequential(nn.Dense(3, 3))).forward(draw(2, 4), training)


def test_errors_of_backward_name_the_layer():
    model = nn.Sequential(nn.Dense(4, 5), nn.ReLU())
    model.forward(draw(2, 4), training=True)
    for backward in (model.backward, model.backward_parameters):
        with pytest.raises(ValueError, match=r"layer 1, ReLU: dy: expected .*\(2, 5\)"):
            backward(draw(2, 4))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Dense(-1, 3), ValueError, "in_features: expected an integer >= 0; got -1"),
        (lambda: nn.Dense(3, 2.5), TypeError, "out_features: expected an integer; got 2.5"),
        (lambda: nn.Dense(3, 2, init="magic"), ValueError, "init: expected one of"),
        (lambda: nn.Dense(3, 2, dtype=np.float16), TypeError, "dtype: expected float32 or float64"),
        (lambda: nn.Dropout(1.5), ValueError, "p: expected"),
        (lambda: nn.ReLU(slope="steep"), TypeError, "slope: expected a number"),
        (
            lambda: nn.Sequential(nn.ReLU(), "relu"),
            TypeError,
            "layers: expected layers; got 'relu' at position 1",
        ),
        (lambda: nn.Sequential(*[nn.ReLU()] * 2), ValueError, "layers: expected distinct layers"),
        (lambda: nn.Flatten().forward(3.0), ValueError, "x: expected shape"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_empty_model():
    model = nn.Sequential()
    x = draw(2, 3)
    assert model.n_parameters == 0
    np.testing.assert_array_equal(model.forward(x, training=True), x)
    np.testing.assert_array_equal(model.backward(x), x)
    model.backward_parameters(x)
