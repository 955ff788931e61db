"""Models in files."""

import builtins
import copy
import json
import pickle

import numpy as np
import pytest

import closedform as cf
from closedform import nn
from closedform.nn import files

safetensors_numpy = pytest.importorskip("safetensors.numpy")


def build():
    return nn.Sequential(
        nn.Flatten(),
        nn.Dense(6, 5, init="glorot"),
        nn.ReLU(slope=5, negative_slope=0.25),
        nn.Dropout(0.3),
        nn.Sequential(nn.Dense(5, 4, bias=False, dtype="float64"), nn.Tanh()),
        nn.GELU(),
        nn.Softplus(),
        nn.Sigmoid(),
        seed=0,
    )


def build_for_images():
    """With statistics as after training."""
    model = nn.Sequential(
        nn.Conv2d(2, 4, (3, 2), stride=(1, 2), padding=((0, 1), (2, 0)), groups=2, init="glorot"),
        nn.BatchNorm(4, momentum=0.97, convention="keras", eps=1e-3, running_var="biased"),
        nn.Sequential(
            nn.MaxPool2d(3, 2, padding=1),
            nn.Conv2d(4, 3, 2, dilation=(2, 1), bias=False, activation="relu", dtype="float64"),
            nn.BatchNorm(3, dtype="float64"),
        ),
        nn.AvgPool2d((1, 2), stride=1),
        seed=0,
    )
    rng = np.random.default_rng(0)
    for norm in (model[1], model[2][2]):
        norm.mean[...], norm.var[...] = rng.standard_normal(norm.mean.size), rng.uniform(1, 2, norm.var.size)
    return model


def build_for_sequences():
    return nn.Sequential(
        nn.Embedding(7, 3),
        nn.LSTM(3, 4, 2, dropout=0.25, bidirectional=True, batch_first=True, forget_bias=0.5),
        nn.RNN(8, 3, nonlinearity="relu", bias=False, batch_first=True, carry=True, init="he"),
        nn.LSTM(3, 2, cell_activation="identity", batch_first=True, bidirectional=True, dtype="float64"),
        nn.LastStep(batch_first=True, bidirectional=True),
        seed=0,
    )


@pytest.mark.parametrize(
    "model",
    [build(), build_for_images(), build_for_sequences(), nn.Dense(3, 2, seed=0), nn.Tanh(), nn.Sequential()],
    ids=str,
)
def test_round_trip(model, tmp_path):
    path = tmp_path / "model.safetensors"
    nn.save(model, str(path))
    loaded = nn.load(path)
    assert repr(loaded) == repr(model)
    assert list(loaded.parameters()) == list(model.parameters())
    assert list(loaded.state()) == list(model.state())
    arrays, came = model.parameters() | model.state(), loaded.parameters() | loaded.state()
    for p, q in zip(arrays.values(), came.values(), strict=True):
        assert p.dtype == q.dtype
        assert p.tobytes() == q.tobytes()
        assert q.flags.writeable
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    nn.save(loaded, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_loaded_models_compute_and_train(tmp_path):
    model = build()
    nn.save(model, tmp_path / "m")
    loaded = nn.load(tmp_path / "m")
    x = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)
    np.testing.assert_array_equal(loaded(x), model(x))
    nn.train_step(loaded, nn.SquaredError(), nn.Adam(), x, np.zeros((4, 4)))
    assert not np.array_equal(loaded(x), model(x))


def test_inference_of_a_loaded_model_is_that_of_the_saved(tmp_path):
    model = build_for_images()
    x = np.random.default_rng(1).standard_normal((3, 9, 8, 2)).astype(np.float32)
    nn.save(model, tmp_path / "m")
    np.testing.assert_array_equal(nn.load(tmp_path / "m")(x), model(x))
    nn.save(nn.fold_batchnorm(model), tmp_path / "folded")
    folded = nn.load(tmp_path / "folded")
    assert folded.state().keys() == {"1.2.mean", "1.2.var"}  # after a ReLU, it does not fold
    np.testing.assert_array_equal(folded(x), nn.fold_batchnorm(model)(x))


@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_inference_of_sequences(backend, tmp_path):
    model, ids = build_for_sequences(), np.random.default_rng(0).integers(0, 7, (4, 6))
    nn.save(model, tmp_path / "m")
    with cf.use_backend(backend):
        np.testing.assert_array_equal(
            nn.load(tmp_path / "m").forward(ids, lengths=[6, 1, 0, 3]),
            model.forward(ids, lengths=[6, 1, 0, 3]),
        )


def test_any_reader_can_open_the_parameters(tmp_path):
    model = nn.Dense(3, 2, seed=0)
    nn.save(model, tmp_path / "m")
    tensors = safetensors_numpy.load_file(tmp_path / "m")
    np.testing.assert_array_equal(tensors["w"], model.w)


def test_layers_from_elsewhere_are_not_saved(tmp_path):
    class Mine(nn.Layer):
        pass

    with pytest.raises(TypeError, match=r"model: expected layers of closedform\.nn; got Mine"):
        nn.save(nn.Sequential(Mine()), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


ARRAYS = {"w": np.zeros((3, 2), np.float32), "b": np.zeros(2, np.float32)}
NORM = {"layer": "BatchNorm", "features": 2}
NORM_ARRAYS = {name: np.ones(2, np.float32) for name in ("gamma", "beta", "mean", "var")}
CONV = {"layer": "Conv2d", "in_channels": 3, "out_channels": 2, "kernel_size": 1}
DENSE = {"layer": "Dense", "in_features": 3, "out_features": 2}


def described(model, version=1) -> str:
    return json.dumps({"version": version, "model": model})


@pytest.mark.parametrize(
    ("arrays", "architecture", "message"),
    [
        (ARRAYS, None, r"expected a file of closedform\.nn\.save"),
        (ARRAYS, "{", "expected an architecture"),
        (ARRAYS, described(DENSE, version=2), "version 2 needs another version"),
        (ARRAYS, "[1, 2]", "expected an architecture"),
        (ARRAYS, described({"layer": "Magic"}), "unknown layer 'Magic'"),
        (ARRAYS, described({"layer": ["Dense"]}), "expected an architecture"),
        (ARRAYS, described(DENSE | {"colour": "red"}), "expected an architecture"),
        (ARRAYS, described(DENSE | {"in_features": 2**62}), "expected an architecture"),
        (ARRAYS, described(DENSE | {"in_features": 4}), "expected the parameters"),
        ({"w": ARRAYS["w"]}, described(DENSE), "expected the parameters"),
        (ARRAYS | {"c": np.zeros(1)}, described(DENSE), "expected the parameters"),
        (ARRAYS, described(DENSE | {"dtype": "float64"}), "expected the parameters"),
        (ARRAYS, described(CONV), "expected the parameters"),
        (ARRAYS, described(CONV | {"kernel_size": [2**31 - 1, 2**31 - 1]}), "expected an architecture"),
        (ARRAYS, described(CONV | {"padding": {"top": 1}}), "expected an architecture"),
        ({"gamma": ARRAYS["b"], "beta": ARRAYS["b"]}, described(NORM), "expected the parameters and state"),
        (NORM_ARRAYS | {"var": np.ones(3, np.float32)}, described(NORM), "expected the parameters and state"),
        (NORM_ARRAYS, described(NORM | {"momentum": 0.1}), "expected an architecture.*convention"),
    ],
)
def test_foreign_files(arrays, architecture, message, tmp_path):
    metadata = {} if architecture is None else {"closedform.nn": architecture}
    safetensors_numpy.save_file(arrays, tmp_path / "m", metadata)
    with pytest.raises(ValueError, match=f"path: .*{message}|path: {message}"):
        nn.load(tmp_path / "m")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04pickle" * 10])
def test_files_of_another_kind(content, tmp_path):
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(ValueError, match="path: expected a safetensors file"):
        nn.load(tmp_path / "m")


KINDS_IN_TRAINING = {  # of every kind of layer, one and what it is given
    nn.Dense: (nn.Dense(4, 3), (4096, 4)),
    nn.Dropout: (nn.Dropout(0.5), (4096, 4)),
    nn.Flatten: (nn.Flatten(), (4096, 2, 2)),
    nn.Sequential: (nn.Sequential(nn.Dense(4, 3), nn.ReLU()), (4096, 4)),
    nn.GELU: (nn.GELU(), (4096, 4)),
    nn.ReLU: (nn.ReLU(), (4096, 4)),
    nn.Sigmoid: (nn.Sigmoid(), (4096, 4)),
    nn.Softplus: (nn.Softplus(), (4096, 4)),
    nn.Tanh: (nn.Tanh(), (4096, 4)),
    nn.Conv2d: (nn.Conv2d(2, 3, 3, activation="relu"), (16, 16, 16, 2)),
    nn.BatchNorm: (nn.BatchNorm(4), (4096, 4)),
    nn.AvgPool2d: (nn.AvgPool2d(2), (16, 16, 16, 2)),
    nn.MaxPool2d: (nn.MaxPool2d(2), (16, 16, 16, 2)),
    nn.Embedding: (nn.Embedding(5, 3), (32, 64)),
    nn.LastStep: (nn.LastStep(), (2, 512, 4)),
    nn.RNN: (nn.RNN(2, 3), (16, 64, 2)),
    nn.LSTM: (nn.LSTM(2, 3), (16, 64, 2)),
}


@pytest.mark.parametrize("kind", files.KINDS.values())
def test_copies_leave_the_last_batch_behind(kind):
    layer, shape = KINDS_IN_TRAINING[kind]
    x = np.ones(shape, np.int64 if kind is nn.Embedding else np.float32)
    y = layer.forward(x, training=True)
    pickled = pickle.dumps(layer)
    assert len(pickled) < 4096 < y.nbytes
    for other in (pickle.loads(pickled), copy.deepcopy(layer)):
        with pytest.raises(RuntimeError, match="needs a forward"):
            other.backward(np.ones(y.shape, np.float32))
    layer.backward(np.ones(y.shape, np.float32))  # what was copied keeps it


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        nn.load(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        nn.save(nn.Tanh(), tmp_path / "no folder" / "m")


def test_without_safetensors(monkeypatch, tmp_path):
    real = builtins.__import__

    def without(name, *arguments, **keywords):
        if name.startswith("safetensors"):
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    for call in (lambda: nn.save(nn.Tanh(), tmp_path / "m"), lambda: nn.load(tmp_path / "m")):
        with pytest.raises(ImportError, match=r'pip install "closedform\[train\]"'):
            call()
