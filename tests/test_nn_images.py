"""Layers for images: Conv2d and the poolings, and networks of them."""

import copy
import pickle

import numpy as np
import pytest

import closedform as cf
from closedform import nn
from test_nn_layers import BACKENDS, check_gradients, draw

F64 = np.float64


def address(a: np.ndarray) -> int:
    return a.__array_interface__["data"][0]


def cnn(dtype="float32", seed=0) -> nn.Sequential:
    """Of images (N, 6, 6, 2): every layer for images once."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding="same", bias=False, dtype=dtype),
        nn.BatchNorm(4, dtype=dtype),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Conv2d(4, 6, (3, 1), groups=2, activation="relu", dtype=dtype),
        nn.AvgPool2d((1, 2), stride=1),
        nn.Flatten(),
        nn.Dense(12, 3, dtype=dtype),
        seed=seed,
    )


# -- gradients --


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(2, 3, 3, dtype=F64, seed=0), (2, 5, 4, 2)),
        (nn.Conv2d(2, 3, 3, padding="same", bias=False, dtype=F64, seed=0), (2, 3, 2, 2)),
        (nn.Conv2d(3, 2, 1, dtype=F64, seed=0), (2, 3, 4, 3)),
        (nn.Conv2d(4, 6, (2, 3), stride=(1, 2), groups=2, dtype=F64, seed=0), (1, 3, 7, 4)),
        (nn.Conv2d(3, 3, 3, padding=((1, 0), (0, 2)), groups=3, dtype=F64, seed=0), (1, 4, 4, 3)),
        (nn.Conv2d(2, 2, 2, dilation=(2, 1), padding=1, dtype=F64, seed=0), (1, 4, 3, 2)),
        (nn.Conv2d(2, 3, 3, padding=1, activation="relu", dtype=F64, seed=1), (1, 3, 4, 2)),
        (nn.MaxPool2d(2), (2, 4, 5, 3)),
        (nn.MaxPool2d(3, stride=2, padding=1), (2, 5, 4, 2)),
        (nn.AvgPool2d(2), (2, 4, 5, 3)),
        (nn.AvgPool2d((3, 2), stride=1, padding=(1, 0)), (2, 4, 3, 2)),
    ],
    ids=repr,
)
def test_gradients_of_each_layer(layer, shape, backend):
    layer = copy.deepcopy(layer)
    if getattr(layer, "b", None) is not None:
        layer.b[...] = draw(*layer.b.shape)
    with cf.use_backend(backend):
        check_gradients(layer, draw(*shape))


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_through_a_network(backend):
    with cf.use_backend(backend):
        check_gradients(cnn(F64, seed=2), draw(2, 6, 6, 2))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float32, F64])
def test_a_fused_relu_is_a_relu(dtype, backend):
    options = {"padding": 1, "dtype": dtype, "seed": 0}
    fused = nn.Conv2d(3, 5, 3, activation="relu", **options)
    apart = nn.Sequential(nn.Conv2d(3, 5, 3, **options), nn.ReLU())
    fused.b[...] = apart[0].b[...] = draw(5)
    x, dy = draw(2, 6, 7, 3).astype(dtype), draw(2, 6, 7, 5).astype(dtype)
    x[0, 2, 3, 1] = np.nan
    with cf.use_backend(backend):
        y = fused.forward(x, training=True)
        assert (y == 0).any()
        assert np.isnan(y).any()
        np.testing.assert_array_equal(y, apart.forward(x, training=True))
        np.testing.assert_array_equal(fused(x), apart(x))
        np.testing.assert_array_equal(fused.backward(dy), apart.backward(dy))
        fused.backward_parameters(dy)
    for g, expected in zip(fused.gradients().values(), apart.gradients().values(), strict=True):
        np.testing.assert_array_equal(g, expected)


def test_backward_parameters_gives_the_same_gradients():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Dense(12, 2), seed=0)
    model.forward(draw(3, 4, 4, 2).astype(np.float32), training=True)
    dy = draw(3, 2).astype(np.float32)
    model.backward(dy)
    expected = {name: g.copy() for name, g in model.gradients().items()}
    for g in model.gradients().values():
        g.fill(np.nan)
    model.backward_parameters(dy)
    for name, g in model.gradients().items():
        np.testing.assert_array_equal(g, expected[name])


def test_the_first_convolution_is_not_asked_for_dx(monkeypatch):
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), seed=0)
    monkeypatch.setattr(nn.Conv2d, "backward", lambda self, dy: pytest.fail("dx computed"))
    nn.train_step(model, nn.SquaredError(), nn.SGD(0.1), draw(3, 4, 4, 2), draw(3, 2, 2, 3))


# -- memory --


@pytest.mark.parametrize("backend", BACKENDS)
def test_memory_is_used_again_from_step_to_step(backend):
    model = cnn()
    x, dy = draw(8, 6, 6, 2).astype(np.float32), draw(8, 3).astype(np.float32)

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
        return [address(a) for a in (*outputs, *model.gradients().values(), *model.state().values())]

    with cf.use_backend(backend):
        first = step(8)
        assert len(set(first)) == len(first) - 2  # Flatten's are views
        assert step(8) == first
        assert step(3) == first  # the last, smaller batch of an epoch takes a slice
        assert step(8) == first


@pytest.mark.parametrize("backend", BACKENDS)
def test_smaller_and_larger_batches_give_what_a_new_model_gives(backend):
    used = cnn()
    with cf.use_backend(backend):
        for n in (4, 2, 7, 0, 1):
            new = cnn()
            x, dy = draw(n, 6, 6, 2).astype(np.float32), draw(n, 3).astype(np.float32)
            np.testing.assert_array_equal(used.forward(x, training=True), new.forward(x, training=True))
            np.testing.assert_array_equal(used.backward(dy), new.backward(dy))
            for g, expected in zip(used.gradients().values(), new.gradients().values(), strict=True):
                np.testing.assert_array_equal(g, expected)


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(3, 3, 1), nn.MaxPool2d(1), nn.AvgPool2d(1), nn.BatchNorm(3)], ids=repr
)
def test_inference_returns_new_arrays_and_leaves_the_layer_alone(layer):
    x, z = draw(2, 3, 4, 3).astype(np.float32), draw(2, 3, 4, 3, seed=1).astype(np.float32)
    trained = layer.forward(x, training=True)
    before, state = trained.copy(), {name: a.copy() for name, a in layer.state().items()}
    a, b = layer(z), layer.forward(z)
    assert not any(np.shares_memory(p, q) for p, q in ((a, b), (a, trained), (a, z)))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(trained, before)
    for name, array in layer.state().items():
        np.testing.assert_array_equal(array, state[name])


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 4, 1), nn.BatchNorm(3), nn.Dense(3, 4)], ids=repr)
def test_inference_between_forward_and_backward_does_not_disturb(layer):
    x, other = np.random.default_rng(0).integers(
        0, 255, (2, 2, 3, 4, 3), dtype=np.uint8
    )  # converted in the layer
    dy = np.ones_like(layer.forward(x, training=True))
    gradients = []
    for between in ((), (other,)):
        layer.forward(x, training=True)
        for images in between:
            layer(images)
        gradients.append([layer.backward(dy).copy(), *(g.copy() for g in layer.gradients().values())])
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_apart_and_work(copier):
    model = cnn()
    x, y = draw(5, 6, 6, 2).astype(np.float32), np.arange(5) % 3
    nn.train_step(model, nn.CrossEntropy(), nn.SGD(0.1), x, y)
    other = copier(model)
    a = nn.train_step(model, nn.CrossEntropy(), nn.SGD(0.1), x, y)
    assert nn.train_step(other, nn.CrossEntropy(), nn.SGD(0.1), x, y) == a
    ours, theirs = model.parameters() | model.state(), other.parameters() | other.state()
    assert list(ours) == list(theirs)
    for name, p in ours.items():
        np.testing.assert_array_equal(p, theirs[name])
        assert not np.shares_memory(p, theirs[name])


# -- networks in training --


def images(n=60):
    """Two kinds of noise with a bar across it, and a third without."""
    rng = np.random.default_rng(n)
    x, y = 0.5 * rng.standard_normal((n, 6, 6, 2)), rng.integers(0, 3, n)
    x[y == 1, 2:4] += 1
    x[y == 2, :, 2:4] += 1
    return x.astype(np.float32), y


def fit(model, epochs=3):
    x, y = images()
    return nn.fit(
        model,
        x,
        y,
        loss=nn.CrossEntropy(),
        optimizer=nn.AdamW(0.02),
        epochs=epochs,
        batch_size=16,
        validation=images(40),
        progress=False,
        seed=0,
    )


def test_a_network_learns():
    history = fit(cnn(), epochs=15)
    assert history.loss[-1] < history.loss[0] / 4
    assert history.val_accuracy[-1] > 0.9


def test_the_same_bits_for_any_number_of_threads():
    results = set()
    for threads in (1, 2, 3):
        model = cnn()
        with cf.num_threads(threads):
            history = fit(model)
        arrays = (*model.parameters().values(), *model.state().values())
        results.add((*history.loss, *history.val_loss, *(a.tobytes() for a in arrays)))
    assert len(results) == 1


def test_one_loss_curve_on_both_backends():
    curves = {}
    for backend in BACKENDS:
        with cf.use_backend(backend):
            curves[backend] = fit(cnn(F64))
    for name in ("loss", "val_loss"):
        rtol = 1000 * np.finfo(F64).eps
        np.testing.assert_allclose(curves["compiled"][name], curves["reference"][name], rtol=rtol)


# -- dtypes, shapes, starting values --


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, F64])
@pytest.mark.parametrize("given", [np.uint8, np.float32, F64])
def test_convolutions_compute_in_their_own_dtype(given, dtype, training):
    layer = nn.Conv2d(2, 3, 3, dtype=dtype, seed=0)
    x = np.random.default_rng(0).integers(0, 255, (2, 5, 6, 2)).astype(given)
    y = layer.forward(x, training=training)
    np.testing.assert_array_equal(y, cf.conv2d(x.astype(dtype), layer.w, layer.b))
    assert (y.dtype, y.shape) == (dtype, (2, 3, 4, 3))
    if training:
        assert layer.backward(np.ones((2, 3, 4, 3))).dtype == dtype


@pytest.mark.parametrize("layer", [nn.MaxPool2d(2), nn.AvgPool2d(2)], ids=repr)
def test_poolings_compute_in_the_dtype_given(layer):
    for given, expected in ((np.float32, np.float32), (F64, F64), (np.uint8, F64)):
        y = layer.forward(np.ones((1, 4, 4, 2), given), training=True)
        assert (y.dtype, layer.backward(np.ones((1, 2, 2, 2))).dtype) == (expected, expected)


def test_channels_first_views_are_accepted():
    x = np.moveaxis(draw(2, 2, 6, 6).astype(np.float32), 1, 3)
    np.testing.assert_array_equal(
        cnn().forward(x, training=True), cnn().forward(np.ascontiguousarray(x), training=True)
    )


def test_initial_weights():
    def deviation(groups=1, **options):
        layer = nn.Conv2d(32, 96, (3, 5), groups=groups, seed=0, **options)
        assert layer.w.shape == (3, 5, 32 // groups, 96)
        assert not layer.b.any()
        return layer.w.std()

    assert deviation() == pytest.approx(np.sqrt(2 / (15 * 32)), rel=0.02)
    assert deviation(groups=4) == pytest.approx(np.sqrt(2 / (15 * 8)), rel=0.02)
    assert deviation(init="glorot") == pytest.approx(np.sqrt(2 / (15 * 128)), rel=0.02)
    assert deviation(init="glorot", groups=4) == pytest.approx(np.sqrt(2 / (15 * 32)), rel=0.02)
    assert deviation(init="zeros") == 0
    a, b, other = (nn.Conv2d(2, 3, 3, seed=seed).w for seed in (3, np.random.default_rng(3), None))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, other)


# -- what people see --


def test_repr_and_config():
    layers = {
        "Conv2d(3, 8, 3)": nn.Conv2d(3, 8, 3),
        "Conv2d(3, 8, (3, 1), stride=2, padding=(1, 0))": nn.Conv2d(3, 8, (3, 1), stride=2, padding=(1, 0)),
        "Conv2d(3, 8, 3, padding=1)": nn.Conv2d(3, 8, [3, 3], padding="same"),
        "Conv2d(3, 8, 2, padding=((0, 1), (0, 1)))": nn.Conv2d(3, 8, 2, padding="same"),
        "Conv2d(4, 8, 1, stride=(1, 2), dilation=(1, 3), groups=2, bias=False, activation='relu', "
        "dtype=float64)": nn.Conv2d(
            4,
            8,
            1,
            stride=(1, 2),
            dilation=(1, 3),
            groups=2,
            bias=False,
            activation="relu",
            dtype="float64",
        ),
        "MaxPool2d(2)": nn.MaxPool2d(2, stride=2),
        "MaxPool2d(3, stride=2, padding=1)": nn.MaxPool2d(3, 2, 1),
        "AvgPool2d((2, 3), stride=1)": nn.AvgPool2d((2, 3), stride=1),
    }
    for shown, layer in layers.items():
        assert repr(layer) == shown
        assert repr(type(layer)(**layer.config())) == shown
        assert eval(f"nn.{shown}", {"nn": nn, "float64": F64}).config() == layer.config()


# -- mistakes --

LAYERS = [nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1, activation="relu"), nn.MaxPool2d(1), nn.AvgPool2d(1)]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_backward_before_forward(layer):
    layer = type(layer)(**layer.config())
    layer.forward(draw(2, 4, 5, 3))  # inference does not count
    for backward in (layer.backward, layer.backward_parameters):
        with pytest.raises(RuntimeError, match=r"backward needs a forward\(x, training=True\)"):
            backward(draw(2, 4, 5, 3))


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_backward_of_the_wrong_shape(layer):
    layer.forward(draw(2, 4, 5, 3), training=True)
    with pytest.raises(ValueError, match=r"dy: expected.*\(2, 4, 5, 3\).*got \(2, 5, 4, 3\)"):
        layer.backward(draw(2, 5, 4, 3))


@pytest.mark.parametrize("training", [False, True])
def test_errors_name_the_layer_and_the_argument(training):
    def expect(message, shape, *layers):
        with pytest.raises(ValueError, match=message):
            nn.Sequential(*layers).forward(draw(*shape), training)

    shape, conv = r"\(N, H, W, 3\), the inputs of Conv2d\(3, 4, 3\)", nn.Conv2d(3, 4, 3)
    expect(rf"layer 0, Conv2d: x: expected shape {shape}; got \(2, 5, 5, 4\)", (2, 5, 5, 4), conv)
    expect(rf"layer 0, Conv2d: x: expected shape {shape}; got \(5, 5, 3\)", (5, 5, 3), conv)
    expect(r"layer 0, Conv2d: x: expected images with room", (1, 1, 1, 3), conv)
    expect(r"layer 1, MaxPool2d: x: expected shape \(N, H, W, C\)", (2, 3), nn.ReLU(), nn.MaxPool2d(2))
    expect(r"layer 0, AvgPool2d: x: expected images with room", (1, 1, 1, 3), nn.AvgPool2d(4, stride=1))
    expect(r"layer 0, MaxPool2d: x: expected images with room", (1, 1, 4, 3), nn.MaxPool2d(2))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Conv2d(0, 3, 3), ValueError, "in_channels: expected an integer >= 1; got 0"),
        (lambda: nn.Conv2d(3, 2.5, 3), TypeError, "out_channels: expected an integer; got 2.5"),
        (lambda: nn.Conv2d(3, 2, 0), ValueError, "kernel_size: expected integers in"),
        (lambda: nn.Conv2d(3, 2, (3, 3, 3)), ValueError, "kernel_size: expected an integer or a pair"),
        (lambda: nn.Conv2d(3, 2, 3, stride=0), ValueError, "stride: expected integers in"),
        (lambda: nn.Conv2d(3, 2, 3, padding=-1), ValueError, "padding: expected integers in"),
        (lambda: nn.Conv2d(3, 2, 3, padding="full"), ValueError, "padding: expected integers, "),
        (lambda: nn.Conv2d(3, 2, 3, dilation="2"), TypeError, "dilation: expected an integer"),
        (lambda: nn.Conv2d(4, 6, 3, groups=4), ValueError, "groups: expected a divisor of in_channels, 4"),
        (lambda: nn.Conv2d(3, 2, 3, activation="tanh"), ValueError, "activation: expected one of"),
        (lambda: nn.Conv2d(3, 2, 3, init="magic"), ValueError, "init: expected one of"),
        (lambda: nn.Conv2d(3, 2, 3, dtype="int8"), TypeError, "dtype: expected float32 or float64"),
        (lambda: nn.MaxPool2d(0), ValueError, "size: expected integers in"),
        (lambda: nn.MaxPool2d(2, padding=2), ValueError, "padding: expected less than the window's size"),
        (lambda: nn.AvgPool2d(2, stride=1.5), TypeError, "stride: expected an integer"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()
