"""`train_step` and `fit`: what they do, in which order, to which bits."""

import builtins
import math

import numpy as np
import pytest

import closedform as cf
from closedform import nn
from closedform.nn.training import Batches


def data(n=50, d=6, k=3, seed=0):
    """Points around k centres."""
    centres = 2 * np.random.default_rng(0).standard_normal((k, d))
    rng = np.random.default_rng([seed, n])
    y = rng.integers(0, k, n)
    return (centres[y] + rng.standard_normal((n, d))).astype(np.float32), y


def mlp(seed=0, dropout=0.0):
    return nn.Sequential(nn.Dense(6, 8), nn.ReLU(), nn.Dropout(dropout), nn.Dense(8, 3), seed=seed)


def fit(model, x, y, **options):
    options = {
        "loss": nn.CrossEntropy(),
        "optimizer": nn.SGD(0.1, 0.9),
        "epochs": 3,
        "batch_size": 8,
    } | options
    return nn.fit(model, x, y, **{"progress": False, "seed": 0} | options)


def bits(model) -> list[bytes]:
    return [p.tobytes() for p in model.parameters().values()]


# -- one step --


def test_the_five_acts():
    x, y = data(8)
    model, by_hand, loss = mlp(), mlp(), nn.CrossEntropy()
    value = nn.train_step(model, loss, nn.SGD(0.1), x, y)
    assert isinstance(value, float)

    y_hat = by_hand.forward(x, training=True)  # 1. forward
    expected, dy_hat = loss.with_grad(y_hat, y)  # 2. loss
    for g in by_hand.gradients().values():  # 3. clear: garbage does not survive act 4
        g.fill(np.nan)
    by_hand.backward(dy_hat)  # 4. backward
    for p, g in zip(by_hand.parameters().values(), by_hand.gradients().values(), strict=True):
        cf.sgd_update(p, g, None, lr=0.1)  # 5. update
    assert value == expected
    assert bits(model) == bits(by_hand)


def test_train_step_clips():
    x, y = data(8)
    model = mlp()
    nn.train_step(model, nn.CrossEntropy(), nn.SGD(0.1), x * 100, y, clip=0.01)
    norm = math.sqrt(sum(float((g.astype(float) ** 2).sum()) for g in model.gradients().values()))
    assert norm == pytest.approx(0.01, rel=1e-5)


def test_train_step_needs_a_scalar_loss():
    with pytest.raises(ValueError, match="loss: expected one that reduces"):
        nn.train_step(mlp(), nn.CrossEntropy(reduction="none"), nn.SGD(0.1), *data(8))


def test_a_float32_model_takes_any_numbers():
    x, y = data(8)
    expected = nn.train_step(mlp(), nn.CrossEntropy(), nn.SGD(0.1), x, y)
    assert (
        nn.train_step(mlp(), nn.CrossEntropy(), nn.SGD(0.1), x.astype(float), y.astype(np.uint8)) == expected
    )
    assert nn.train_step(mlp(), nn.CrossEntropy(), nn.SGD(0.1), x.tolist(), y.tolist()) == expected
    images = np.random.default_rng(0).integers(0, 256, (8, 2, 3), dtype=np.uint8)
    model = nn.Sequential(nn.Flatten(), nn.Dense(6, 3), seed=0)
    assert nn.train_step(model, nn.CrossEntropy(), nn.SGD(1e-4), images, y) > 0


# -- epochs --


def test_fit_learns_and_tells():
    x, y = data(200)
    history = fit(mlp(), x, y, epochs=20, validation=data(100))
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy", "seconds"]
    assert all(len(values) == 20 for values in history.values())
    assert history.n_epochs == 20
    assert history.loss == history["loss"]
    assert history.loss[-1] < history.loss[0] / 2
    assert history.val_accuracy[-1] > 0.8
    assert history.stopped == ""
    lines = repr(history).splitlines()
    assert lines[0] == "History of 20 epochs"
    assert lines[1].split() == ["epoch", *history]
    assert len(lines) == 14  # the middle is left out
    with pytest.raises(AttributeError, match=r"no 'lr'"):
        history.lr  # noqa: B018


def test_every_sample_once_an_epoch():
    x = np.arange(23)[:, None]
    y = np.arange(23) * 2
    batches = Batches(x, y, 5)
    assert len(batches) == 5
    seen = [(a.copy(), b.copy()) for a, b in batches(np.random.default_rng(0).permutation(23))]
    assert [len(a) for a, _ in seen] == [5, 5, 5, 5, 3]
    rows = np.concatenate([a for a, _ in seen])[:, 0]
    assert sorted(rows) == list(range(23))
    assert list(rows) != list(range(23))
    np.testing.assert_array_equal(np.concatenate([b for _, b in seen]), rows * 2)
    assert (
        len({a.__array_interface__["data"][0] for a, _ in batches(np.arange(23))}) == 1
    )  # memory used again


def test_loss_of_an_epoch_is_a_mean_over_its_samples():
    """With lr = 0 the epoch's loss is that of the whole data, the smaller last batch included."""
    x, y = data(50)
    model = mlp()
    history = fit(model, x, y, optimizer=nn.SGD(0.0), batch_size=16, epochs=1, validation=(x, y))
    assert history.loss[0] == pytest.approx(float(cf.cross_entropy(model(x), y)), rel=1e-5)
    assert history.val_loss[0] == pytest.approx(history.loss[0], rel=1e-5)
    assert history.accuracy == history.val_accuracy
    targets = np.eye(3, dtype=np.float32)[y]
    history = fit(model, x, targets, loss=nn.SquaredError(), optimizer=nn.SGD(0.0), batch_size=16, epochs=1)
    assert history.loss[0] == pytest.approx(float(cf.squared_error(model(x), targets)), rel=1e-5)
    assert list(history) == ["loss", "seconds"]


def test_binary_classifier():
    x, y = data(100, k=2)
    model = nn.Sequential(nn.Dense(6, 1), nn.Sigmoid(), seed=0)
    history = fit(model, x, y[:, None], loss=nn.BinaryCrossEntropy(), epochs=10)
    assert history.accuracy[-1] > 0.9


def test_batch_larger_than_the_data_and_no_epochs():
    x, y = data(5)
    assert fit(mlp(), x, y, batch_size=100).n_epochs == 3
    history = fit(mlp(), x, y, epochs=0)
    assert history == {}
    assert repr(history) == "History of 0 epochs"


# -- bits --


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_same_seed_gives_the_same_bits(dropout):
    x, y = data(60)
    results = []
    for threads in (1, 2, 3, 1):
        with cf.num_threads(threads):
            model = mlp(dropout=dropout)
            history = fit(model, x, y, seed=5)
        results.append((bits(model), history.loss))
    assert all(result == results[0] for result in results)
    other = mlp(dropout=dropout)
    fit(other, x, y, seed=6)
    assert bits(other) != results[0][0]


def test_bits_do_not_depend_on_threads_in_a_network_large_enough_to_share():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((600, 300)).astype(np.float32), rng.integers(0, 10, 600)
    results = []
    for threads in (1, 2, 3):
        with cf.num_threads(threads):
            model = nn.Sequential(nn.Dense(300, 200), nn.GELU(), nn.Dense(200, 10), seed=0)
            history = fit(model, x, y, optimizer=nn.AdamW(), batch_size=256)
        results.append((bits(model), history.loss))
    assert results[0] == results[1] == results[2]


def test_training_leaves_the_data_alone():
    x, y = data(30)
    x_before, y_before = x.copy(), y.copy()
    x.flags.writeable = y.flags.writeable = False
    fit(mlp(), x, y, validation=(x, y))
    np.testing.assert_array_equal(x, x_before)
    np.testing.assert_array_equal(y, y_before)


@pytest.mark.parametrize("loss", [nn.CrossEntropy(), nn.SquaredError()])
def test_backends_agree(loss):
    x, y = data(100)
    targets = y if isinstance(loss, nn.CrossEntropy) else np.eye(3)[y]
    curves = {}
    for backend in ("compiled", "reference"):
        with cf.use_backend(backend):
            curves[backend] = fit(mlp(dropout=0.1), x, targets, loss=loss, optimizer=nn.Adam(), epochs=5).loss
    np.testing.assert_allclose(curves["compiled"], curves["reference"], rtol=1e-4)


# -- callbacks, interruptions, warnings --


def test_callbacks():
    calls = []

    def note(epoch, history, model):
        calls.append((epoch, history.n_epochs, model))

    model = mlp()
    history = fit(model, *data(), callbacks=[note, lambda epoch, history, model: epoch == 1], epochs=9)
    assert calls == [(0, 1, model), (1, 2, model)]
    assert history.stopped == "by a callback"
    assert repr(history).startswith("History of 2 epochs, stopped by a callback\n")


def test_stop_iteration_stops():
    def stop(epoch, history, model):
        raise StopIteration

    history = fit(mlp(), *data(), callbacks=[stop], epochs=9)
    assert (history.n_epochs, history.stopped) == (1, "by a callback")


def test_interrupt_returns_the_history():
    class Interrupted(nn.SquaredError):
        steps = 0

        def with_grad(self, y_hat, y):
            self.steps += 1
            if self.steps == 17:  # seven batches an epoch: in the third
                raise KeyboardInterrupt
            return super().with_grad(y_hat, y)

    x, y = data()
    history = fit(mlp(), x, np.eye(3)[y], loss=Interrupted(), optimizer=nn.SGD(1e-3), epochs=9)
    assert (history.n_epochs, history.stopped) == (2, "interrupted")
    assert len(history.loss) == len(history.seconds) == 2
    assert "2 epochs, interrupted" in repr(history)


def test_other_errors_pass_through():
    def fail(epoch, history, model):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(mlp(), *data(), callbacks=[fail])


def test_a_loss_that_is_not_finite_warns_once():
    x, y = data()
    x[3] = np.nan
    with pytest.warns(RuntimeWarning, match="the loss of epoch 0 is nan") as warned:
        history = fit(mlp(), x, y, epochs=4)
    assert len(warned) == 1
    assert warned[0].filename == __file__.replace(".pyc", ".py")
    assert history.n_epochs == 4


def test_progress_bar(capsys):
    pytest.importorskip("tqdm")
    x, y = data()
    fit(mlp(), x, y, progress=True, validation=(x, y))
    shown = capsys.readouterr().err
    assert "epoch 3/3: 100%" in shown
    assert "21/21" in shown
    assert "val_accuracy" in shown


def test_without_tqdm_training_goes_on(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **keywords):
        if name.startswith("tqdm"):
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.warns(
        UserWarning, match=r'pip install "closedform\[train\]", or pass progress=False'
    ) as warned:
        history = fit(mlp(), *data(), progress=True)
    assert history.n_epochs == 3
    assert warned[0].filename == __file__


# -- inference --


def test_predict_and_evaluate():
    x, y = data(50)
    model, loss = mlp(dropout=0.5), nn.CrossEntropy()
    for size in (1, 7, 50, 64):
        np.testing.assert_allclose(nn.predict(model, x, batch_size=size), model(x), rtol=1e-5, atol=1e-6)
    assert nn.predict(model, x[:0]).shape == (0, 3)
    value, accuracy = nn.evaluate(model, loss, x, y)
    assert value == float(loss(model(x), y))
    assert accuracy == np.mean(model(x).argmax(1) == y)
    assert nn.evaluate(model, nn.SquaredError(), x, np.eye(3)[y])[1] is None


# -- mistakes --

X, Y = data(10)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"y": Y[:9]}, ValueError, r"y: expected 10 targets.*got shape \(9,\)"),
        ({"x": X[:0], "y": Y[:0]}, ValueError, "x: expected shape .* at least one sample"),
        ({"x": 3.0}, ValueError, "x: expected shape"),
        ({"batch_size": 0}, ValueError, "batch_size: expected an integer >= 1; got 0"),
        ({"batch_size": 2.5}, TypeError, "batch_size: expected an integer; got 2.5"),
        ({"epochs": -1}, ValueError, "epochs: expected an integer >= 0; got -1"),
        ({"epochs": True}, TypeError, "epochs: expected an integer; got True"),
        ({"validation": X}, TypeError, r"validation: expected a pair \(x, y\)"),
        ({"validation": (X, Y[:3])}, ValueError, "validation y: expected 10 targets"),
        ({"x": X[:, :5]}, ValueError, "layer 0, Dense: x: expected"),
        ({"y": Y + 1}, ValueError, r"target: expected class indices in \[0, 3\)"),
        ({"y": Y / 2}, TypeError, "target"),
        ({"clip": -1}, ValueError, "max_norm: expected"),
        ({"loss": nn.CrossEntropy(reduction="none")}, ValueError, "loss: expected one that reduces"),
        ({"loss": nn.SquaredError()}, ValueError, "y: expected the shape of y_hat"),
    ],
)
def test_mistakes(options, error, message):
    with pytest.raises(error, match=message):
        fit(mlp(), **{"x": X, "y": Y} | options)
