"""BatchNorm and its running statistics, and folding it away."""

import numpy as np
import pytest

import closedform as cf
from closedform import nn
from test_nn_layers import BACKENDS, check_gradients, draw

F64 = np.float64


def batches(*shape: int, n: int = 5, dtype=F64) -> list[np.ndarray]:
    """Batches whose channels have means and deviations of their own."""
    C = shape[-1]
    rng = np.random.default_rng([*shape])
    return [(draw(C) + rng.uniform(0.5, 2, C) * rng.standard_normal(shape)).astype(dtype) for _ in range(n)]


def used(layer: nn.BatchNorm, seed: int = 0) -> nn.BatchNorm:
    """With parameters and statistics as after training."""
    for array in (layer.gamma, layer.beta, layer.mean):
        array[...] = draw(array.size, seed=seed + array.size)
    layer.var[...] = np.abs(draw(layer.var.size, seed=seed + 9))
    return layer


# -- what it computes --


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 4, 5), (4, 1), (3, 2, 2)])
def test_gradients(shape, backend):
    layer = used(nn.BatchNorm(shape[-1], dtype=F64))
    with cf.use_backend(backend):
        check_gradients(layer, draw(*shape))


@pytest.mark.parametrize("backend", BACKENDS)
def test_training_takes_the_batch_and_inference_the_running_statistics(backend):
    layer = used(nn.BatchNorm(3, eps=0.5, dtype=F64))
    gamma, beta, mean, var = (a.copy() for a in (layer.gamma, layer.beta, layer.mean, layer.var))
    (x,) = batches(7, 2, 3, n=1)
    with cf.use_backend(backend):
        inference = layer(x)
        training = layer.forward(x, training=True)
    centred = x - x.mean((0, 1))
    np.testing.assert_allclose(training, gamma * centred / np.sqrt(x.var((0, 1)) + 0.5) + beta, rtol=1e-13)
    np.testing.assert_allclose(inference, gamma * (x - mean) / np.sqrt(var + 0.5) + beta, rtol=1e-13)


# -- running statistics --


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("running_var", "ddof"), [("unbiased", 1), ("biased", 0)])
@pytest.mark.parametrize(("convention", "share"), [("torch", 0.3), ("keras", 0.7)])
def test_running_statistics(convention, share, running_var, ddof, backend):
    layer = nn.BatchNorm(4, momentum=0.3, convention=convention, running_var=running_var, dtype=F64)
    mean, var = np.zeros(4), np.ones(4)
    for x in batches(3, 2, 4):
        with cf.use_backend(backend):
            layer.forward(x, training=True)
        mean = (1 - share) * mean + share * x.mean((0, 1))
        var = (1 - share) * var + share * x.var((0, 1), ddof=ddof)
        np.testing.assert_allclose(layer.mean, mean, rtol=1e-13)
        np.testing.assert_allclose(layer.var, var, rtol=1e-13)


def test_the_default_is_that_of_pytorch():
    default, named, opposite = (
        nn.BatchNorm(4, dtype=F64),
        nn.BatchNorm(4, momentum=0.1, convention="torch", running_var="unbiased", dtype=F64),
        nn.BatchNorm(4, momentum=0.9, convention="keras", dtype=F64),
    )
    for x in batches(5, 4):
        for layer in (default, named, opposite):
            layer.forward(x, training=True)
    for name, array in default.state().items():
        np.testing.assert_array_equal(array, named.state()[name])
        np.testing.assert_allclose(array, opposite.state()[name], rtol=1e-14)


def test_momentum_one_keeps_the_last_batch_alone():
    layer = nn.BatchNorm(4, momentum=1, convention="torch", running_var="biased", dtype=F64)
    for x in batches(5, 4):
        layer.forward(x, training=True)
    np.testing.assert_allclose(layer.mean, x.mean(0), rtol=1e-13)
    np.testing.assert_allclose(layer.var, x.var(0), rtol=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("deviation", [1e-6, 1e-3, 1.0, 1e3])
def test_variances_of_any_size(deviation, backend):
    """σ² comes from 1/√(σ² + ε): its error is some eps of σ² + ε, and it is never negative."""
    layer = nn.BatchNorm(3, momentum=1, convention="torch")
    x = (deviation * draw(50, 3)).astype(np.float32)
    x[:, 0] = 7  # a constant channel
    with cf.use_backend(backend):
        layer.forward(x, training=True)
    expected = x.astype(F64).var(0, ddof=1)
    error = np.abs(layer.var - expected)
    assert (error <= 8 * np.finfo(np.float32).eps * (expected + layer.eps)).all()
    assert (layer.var >= 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_eps_that_is_zero_in_the_dtype_still_counts(backend):
    layer = nn.BatchNorm(2, momentum=1, convention="torch", eps=1e-50)
    x = np.stack([np.full(4, 3), np.arange(4)], axis=1).astype(np.float32)
    with cf.use_backend(backend):
        y = layer.forward(x, training=True)
        assert y[:, 0].tolist() == [0, 0, 0, 0]
        assert layer.var[0] <= 1e-50
        assert layer(x)[:, 0].tolist() == [0, 0, 0, 0]
    np.testing.assert_allclose(layer.var[1], x[:, 1].var(ddof=1), rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_nan_stays_in_its_channel_and_is_seen(backend):
    layer = nn.BatchNorm(3)
    x = draw(5, 2, 3).astype(np.float32)
    x[1, 1, 1] = np.nan
    with cf.use_backend(backend):
        y = layer.forward(x, training=True)
        later = layer(np.ones((2, 3)))
    for array in (y, layer.mean, layer.var, later):
        nan = np.isnan(array).reshape(-1, 3)
        assert nan[:, 1].all()
        assert not nan[:, [0, 2]].any()


def test_batches_of_one_row_and_of_none():
    layer, biased = nn.BatchNorm(3), nn.BatchNorm(3, running_var="biased")
    with pytest.raises(ValueError, match=r"x: expected at least two rows.*running_var='biased'.*\(1, 3\)"):
        layer.forward(np.ones((1, 3)), training=True)
    assert biased.forward(np.ones((1, 3)), training=True).tolist() == [[0, 0, 0]]
    np.testing.assert_allclose(biased.var, 0.9, rtol=1e-6)
    for one in (layer, biased):
        state = {name: a.copy() for name, a in one.state().items()}
        assert one.forward(np.ones((0, 3)), training=True).shape == (0, 3)
        for name, array in one.state().items():
            np.testing.assert_array_equal(array, state[name])
    np.testing.assert_allclose(layer(np.ones((1, 3))), 1, rtol=1e-5)  # inference takes one


def test_state_is_no_parameter():
    model = nn.Sequential(nn.Dense(2, 3), nn.Sequential(nn.BatchNorm(3)), seed=0)
    assert list(model.parameters()) == list(model.gradients()) == ["0.w", "0.b", "1.0.gamma", "1.0.beta"]
    assert list(model.state()) == ["1.0.mean", "1.0.var"]
    assert (model.n_parameters, model[1][0].n_parameters) == (15, 6)
    assert nn.Dense(2, 3).state() == {}
    model.state()["1.0.mean"][...] = 5  # live
    assert model[1][0].mean.tolist() == [5, 5, 5]


def test_weight_decay_and_learning_leave_the_state_alone():
    model = nn.Sequential(nn.BatchNorm(3, momentum=0, convention="torch"))
    nn.train_step(model, nn.SquaredError(), nn.SGD(0.1, weight_decay=0.5), draw(4, 3), draw(4, 3, seed=1))
    assert not np.array_equal(model[0].gamma, np.ones(3))
    assert model[0].mean.tolist() == [0, 0, 0]
    assert model[0].var.tolist() == [1, 1, 1]


def test_reset():
    model = nn.Sequential(used(nn.BatchNorm(3)), nn.Dense(3, 2), seed=0)
    norm = model[0]
    assert [a.tolist() for a in (norm.gamma, norm.beta, norm.mean, norm.var)] == [
        [1, 1, 1],
        [0, 0, 0],
        [0, 0, 0],
        [1, 1, 1],
    ]


# -- what people see, and their mistakes --


def test_repr_and_config():
    layers = {
        "BatchNorm(3)": nn.BatchNorm(3, momentum=0.1, convention="torch"),
        "BatchNorm(3, momentum=0.99, convention='keras', eps=0.001, running_var='biased', dtype=float64)": (
            nn.BatchNorm(
                3, momentum=0.99, convention="keras", eps=1e-3, running_var="biased", dtype="float64"
            )
        ),
    }
    for shown, layer in layers.items():
        assert repr(layer) == repr(nn.BatchNorm(**layer.config())) == shown


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"momentum": 0.9},
            ValueError,
            'convention: expected "torch" .* or "keras" .* momentum=0.9; got None',
        ),
        ({"convention": "keras"}, ValueError, "momentum: expected .* along with convention='keras'"),
        ({"momentum": 0.9, "convention": "Torch"}, ValueError, "convention: expected one of"),
        ({"momentum": 1.1, "convention": "torch"}, ValueError, r"momentum: expected .*\[0, 1\]; got 1.1"),
        ({"eps": -1e-5}, ValueError, "eps: expected"),
        ({"running_var": "sample"}, ValueError, "running_var: expected one of"),
        ({"dtype": "float16"}, TypeError, "dtype: expected float32 or float64"),
        ({"features": -1}, ValueError, "features: expected an integer >= 0"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        nn.BatchNorm(**{"features": 3} | options)


def test_bad_shapes():
    layer = nn.BatchNorm(3)
    for training in (False, True):
        with pytest.raises(
            ValueError,
            match=r"layer 0, BatchNorm: x: expected shape \(\.\.\., 3\), the inputs of BatchNorm\(3\)",
        ):
            nn.Sequential(layer).forward(np.ones((3, 4)), training)
    with pytest.raises(RuntimeError, match=r"backward needs a forward\(x, training=True\)"):
        layer.backward(np.ones((2, 3)))
    layer.forward(draw(2, 3), training=True)
    with pytest.raises(ValueError, match=r"dy: expected.*\(2, 3\).*got \(3, 3\)"):
        layer.backward(np.ones((3, 3)))


# -- folding --


def folds_to(model: nn.Sequential, x: np.ndarray, *kinds: type[nn.Layer]) -> nn.Sequential:
    """Checks the layers of the folded model, that it computes the same, and that the model is as it was."""
    before = {name: a.copy() for name, a in (model.parameters() | model.state()).items()}
    shown = repr(model)
    folded = nn.fold_batchnorm(model)
    assert [type(layer) for layer in folded.layers] == list(kinds)
    expected, y = model(x), folded(x)
    assert y.dtype == expected.dtype == x.dtype
    error = np.abs(y - expected).max(initial=0)
    assert error <= 32 * np.finfo(x.dtype).eps * np.abs(expected).max(initial=1)
    assert repr(model) == shown
    ours = folded.parameters() | folded.state()
    for name, a in (model.parameters() | model.state()).items():
        np.testing.assert_array_equal(a, before[name])
        assert not any(np.shares_memory(a, other) for other in ours.values())
    return folded


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float32, F64])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_folding_convolutions(groups, bias, dtype, backend):
    conv = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=groups, bias=bias, dtype=dtype, seed=0)
    if bias:
        conv.b[...] = draw(8)
    model = nn.Sequential(conv, used(nn.BatchNorm(8, eps=1e-3, dtype=dtype)))
    x = draw(2, 7, 6, 4).astype(dtype)
    with cf.use_backend(backend):
        folded = folds_to(model, x, nn.Conv2d)
    assert folded[0].config() == conv.config() | {"bias": True}


@pytest.mark.parametrize("dtype", [np.float32, F64])
@pytest.mark.parametrize("bias", [False, True])
def test_folding_dense_layers(bias, dtype):
    model = nn.Sequential(
        nn.Dense(5, 4, bias=bias, dtype=dtype, seed=0), used(nn.BatchNorm(4, dtype=dtype)), nn.ReLU()
    )
    folds_to(model, draw(3, 5).astype(dtype), nn.Dense, nn.ReLU)


def test_a_plain_relu_goes_into_the_convolution():
    def model(*after):
        return nn.Sequential(nn.Conv2d(3, 4, 3, seed=0), used(nn.BatchNorm(4)), *after)

    x = draw(2, 5, 5, 3).astype(np.float32)
    assert folds_to(model(nn.ReLU()), x, nn.Conv2d)[0].activation == "relu"
    folds_to(model(nn.ReLU(), nn.ReLU()), x, nn.Conv2d, nn.ReLU)
    folds_to(model(nn.ReLU(slope=5)), x, nn.Conv2d, nn.ReLU)
    folds_to(model(nn.ReLU(negative_slope=0.1)), x, nn.Conv2d, nn.ReLU)
    folds_to(model(nn.MaxPool2d(2), nn.ReLU()), x, nn.Conv2d, nn.MaxPool2d, nn.ReLU)
    folds_to(model(used(nn.BatchNorm(4), seed=1), nn.ReLU()), x, nn.Conv2d)
    folds_to(model(nn.ReLU(), used(nn.BatchNorm(4), seed=1)), x, nn.Conv2d, nn.BatchNorm)


def test_what_does_not_fold_stays():
    x = draw(2, 5, 5, 3).astype(np.float32)
    norm, relu = used(nn.BatchNorm(3)), nn.Conv2d(3, 3, 1, activation="relu", seed=0)
    conv = nn.Conv2d(3, 3, 1, seed=0)
    folds_to(nn.Sequential(norm), x, nn.BatchNorm)
    folds_to(nn.Sequential(norm, conv), x, nn.BatchNorm, nn.Conv2d)
    folds_to(nn.Sequential(relu, norm), x, nn.Conv2d, nn.BatchNorm)
    folds_to(nn.Sequential(conv, nn.MaxPool2d(2), norm), x, nn.Conv2d, nn.MaxPool2d, nn.BatchNorm)
    folds_to(nn.Sequential(conv, nn.ReLU()), x, nn.Conv2d, nn.ReLU)
    folds_to(nn.Sequential(), x)


def test_folding_goes_into_inner_models():
    block = nn.Sequential(nn.Conv2d(3, 4, 3, seed=0), used(nn.BatchNorm(4)), nn.ReLU())
    model = nn.Sequential(block, nn.Flatten(), nn.Dense(36, 2, seed=0), used(nn.BatchNorm(2)))
    folded = folds_to(model, draw(2, 5, 5, 3).astype(np.float32), nn.Sequential, nn.Flatten, nn.Dense)
    assert [type(layer) for layer in folded[0].layers] == [nn.Conv2d]


def test_dtypes_that_differ_do_not_fold():
    model = nn.Sequential(nn.Dense(3, 3, seed=0), used(nn.BatchNorm(3, dtype=F64)))
    assert len(nn.fold_batchnorm(model)) == 2


def test_folding_needs_a_sequential():
    with pytest.raises(TypeError, match="model: expected a Sequential; got Conv2d"):
        nn.fold_batchnorm(nn.Conv2d(3, 4, 3))
