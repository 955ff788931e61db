"""What scikit-learn's AdaBoostClassifier has not: warm starts, early stopping, callbacks, progress, a plot."""

import builtins
import os
import signal
import threading

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier

import closedform as cf
from closedform.estimators import AdaBoostClassifier
from test_adaboost import same, samples

# -- warm starts --


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("options", [{}, {"learning_rate": 0.5, "n_iter_no_change": 30}])
def test_a_warm_start_goes_on(backend, options):
    X, y, w = samples()
    options = {"random_state": 0, **options}
    with cf.use_backend(backend):
        whole = AdaBoostClassifier(n_estimators=13, **options).fit(X, y, sample_weight=w)
        model = AdaBoostClassifier(n_estimators=1, warm_start=True, **options)
        for n in (1, 2, 8, 13, 13):
            model.set_params(n_estimators=n).fit(X, y, sample_weight=w)
    assert same(model, whole)


def test_a_warm_start_with_other_learners():
    X, y, w = samples()
    tree = DecisionTreeClassifier(max_depth=2, max_features=1)
    whole = AdaBoostClassifier(tree, n_estimators=9, random_state=5).fit(X, y, sample_weight=w)
    model = AdaBoostClassifier(tree, n_estimators=4, random_state=5, warm_start=True).fit(
        X, y, sample_weight=w
    )
    model.set_params(n_estimators=9).fit(X, y, sample_weight=w)
    assert [tree.random_state for tree in model] == [tree.random_state for tree in whole]
    np.testing.assert_array_equal(model.estimator_errors_, whole.estimator_errors_)
    np.testing.assert_array_equal(model.training_loss_, whole.training_loss_)


def test_a_warm_start_knows_that_it_is_over():
    X, y = np.arange(6.0)[:, None], [0, 0, 0, 1, 1, 1]
    model = AdaBoostClassifier(n_estimators=3, warm_start=True).fit(X, y).set_params(n_estimators=9).fit(X, y)
    assert len(model) == 1
    model.fit(X[[0, 0, 3, 3]], [0, 1, 0, 1])  # the same classes: from the rounds before
    assert len(model) == 1


def test_what_a_warm_start_refuses():
    X, y, _ = samples()
    model = AdaBoostClassifier(n_estimators=5, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="n_estimators: expected at least 5, as of the fit before; got 4"):
        model.set_params(n_estimators=4).fit(X, y)
    model.set_params(n_estimators=6)
    with pytest.raises(
        ValueError, match=r"y: expected the classes of the fit before, \[0 1 2\]; got \[0 1\]"
    ):
        model.fit(X, y % 2)
    for before, after in (
        (None, DecisionTreeClassifier(max_depth=1)),
        (DecisionTreeClassifier(max_depth=1), None),
    ):
        other = AdaBoostClassifier(before, n_estimators=1, warm_start=True).fit(X, y)
        with pytest.raises(ValueError, match="estimator: expected learners like those of the fit before"):
            other.set_params(estimator=after, n_estimators=2).fit(X, y)
    with pytest.raises(ValueError, match="has 4 features, but AdaBoostClassifier is expecting 5"):
        model.fit(X[:, :4], y)
    assert len(model.fit(X, y)) == 6


# -- early stopping --


def test_early_stopping_keeps_the_best_round():
    """On labels that are half noise. The scores are those of stages, on samples that are not trained on."""
    X, y, w = samples(400, seed=3)
    rng = np.random.default_rng(0)
    y = np.where(rng.uniform(size=len(y)) < 0.5, rng.permutation(y), y)
    seen = []
    model = AdaBoostClassifier(
        n_estimators=500,
        n_iter_no_change=8,
        validation_fraction=0.25,
        tol=0.03,
        random_state=1,
        callbacks=[lambda _, loss, estimator: seen.append((loss, estimator.validation_scores_))],
    ).fit(X, y, sample_weight=w)
    scores = model.validation_scores_
    assert len(model) + 8 == len(scores) == len(seen) < 500
    np.testing.assert_array_equal(seen[4][1], scores[:5])
    best, improved = scores[0], [0]
    for t, score in enumerate(scores):
        if score > best + 0.03:
            best = score
            improved.append(t)
    assert len(model) == improved[-1] + 1 > 3
    assert model.training_loss_[-1] == seen[len(model) - 1][0]
    # 100 samples are held back, so many of each class: their total weight tells them from the rest
    assert (
        model.training_loss_[0]
        != AdaBoostClassifier(n_estimators=1).fit(X, y, sample_weight=w).training_loss_[0]
    )


def test_held_back_samples_are_scored_by_weight():
    """Of a class that can be told, and one that cannot, half of the rows each: the weights say which matters."""
    X = np.repeat([[0.0], [1.0], [1.0]], [40, 20, 20], axis=0)
    y = np.repeat([0, 1, 0], [40, 20, 20])
    w = np.where(X[:, 0] == 0, 1.0, np.where(y == 1, 5.0, 1.0))
    model = AdaBoostClassifier(n_estimators=1, n_iter_no_change=5, validation_fraction=0.5, random_state=0)
    model.fit(X, y, sample_weight=w)
    _, held = train_test_split(
        np.arange(80), test_size=0.5, stratify=y, random_state=np.random.RandomState(0)
    )
    expected = np.average(model.predict(X[held]) == y[held], weights=w[held])
    assert model.validation_scores_.tolist() == [pytest.approx(expected)]
    assert expected != np.mean(model.predict(X[held]) == y[held])


def test_a_fit_without_early_stopping_forgets_the_scores_of_one_before():
    X, y, _ = samples()
    model = AdaBoostClassifier(n_estimators=4, n_iter_no_change=2, random_state=0).fit(X, y)
    assert len(model.validation_scores_) >= len(model)
    assert not hasattr(model.set_params(n_iter_no_change=None).fit(X, y), "validation_scores_")


# -- callbacks, progress and Ctrl-C --


@pytest.mark.parametrize("estimator", [None, DecisionTreeClassifier(max_depth=1, random_state=0)])
def test_callbacks_see_every_round(estimator):
    X, y, _ = samples()
    seen = []

    def watch(number, loss, model):
        seen.append((number, loss, model.score(X, y), len(model)))

    model = AdaBoostClassifier(estimator, n_estimators=6, callbacks=[watch]).fit(X, y)
    numbers, losses, scores, lengths = zip(*seen, strict=True)
    assert numbers == lengths == (1, 2, 3, 4, 5, 6)
    assert list(losses) == model.training_loss_.tolist()
    assert list(scores) == list(model.staged_score(X, y))


def test_a_callback_stops_the_fit():
    calls = []
    X, y, _ = samples()
    callbacks = (lambda number, *_: number == 3, lambda *a: calls.append(a))
    assert len(AdaBoostClassifier(callbacks=callbacks).fit(X, y)) == len(calls) == 3


def test_callbacks_of_scikit_learn():
    pytest.importorskip("sklearn.callback")

    class Recorder:
        def __init__(self):
            self.tasks, self.scores, self.torn_down = [], [], 0

        def setup(self, estimator, context):
            self.tasks.append("setup")

        def teardown(self, estimator, context):
            self.torn_down += 1

        def on_fit_task_begin(self, estimator, context):
            self.tasks.append(context.task_name)

        def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
            self.scores.append(fitted_estimator.score(X, y))
            return context.task_name == "round" and context.task_id == 2

    recorder, (X, y, _) = Recorder(), samples()
    model = AdaBoostClassifier(warm_start=True).set_callbacks(recorder).fit(X, y)
    assert recorder.tasks == ["setup", "fit", "round", "round", "round"]
    assert recorder.scores == [*model.staged_score(X, y), model.score(X, y)]
    assert recorder.torn_down == 1
    assert len(model.fit(X, y)) == 6


@pytest.mark.parametrize("estimator", [None, DecisionTreeClassifier(max_depth=1, random_state=0)])
def test_ctrl_c_keeps_the_rounds_so_far(estimator):
    X, y, _ = samples()

    def interrupt(number, *_):
        if number == 3:
            raise KeyboardInterrupt

    model = AdaBoostClassifier(estimator, callbacks=[interrupt], random_state=0, warm_start=True)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert len(model) == 3
    whole = AdaBoostClassifier(estimator, n_estimators=5, random_state=0).fit(X, y)
    model.set_params(n_estimators=5).fit(X, y)
    np.testing.assert_array_equal(model.training_loss_, whole.training_loss_)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_signal_interrupts_the_rounds():
    X, y, _ = samples(2000)
    model = AdaBoostClassifier(n_estimators=10**9, learning_rate=1e-3)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    timer.join()
    assert len(model) == len(model.estimator_weights_) == len(model.training_loss_) > 0
    assert model.score(X, y) > 1 / 3


def test_verbose_shows_a_bar(capfd):
    pytest.importorskip("tqdm")
    X, y, _ = samples()
    AdaBoostClassifier(n_estimators=5, verbose=1, n_iter_no_change=5, random_state=0).fit(X, y)
    shown = capfd.readouterr()
    assert "boosting" in shown.err
    assert "5/5" in shown.err
    assert shown.out == ""


def test_verbose_without_tqdm_prints_lines(capsys, monkeypatch):
    real = builtins.__import__

    def no_tqdm(name, *args, **options):
        if name.startswith("tqdm"):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", no_tqdm)
    X, y, _ = samples()
    model = AdaBoostClassifier(n_estimators=20, verbose=1).fit(X, y)
    assert capsys.readouterr().out.splitlines() == [
        f"Round {t}: training loss {model.training_loss_[t - 1]:.6g}" for t in (1, 10, 20)
    ]


def test_quiet_fits_say_nothing(capfd):
    AdaBoostClassifier().fit(*samples()[:2])
    assert capfd.readouterr() == ("", "")


def test_plot_is_the_staged_error():
    pytest.importorskip("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    X, y, w = samples()
    model = AdaBoostClassifier(n_estimators=9).fit(X, y)
    figure, ax = plt.subplots()
    assert model.plot(X, y, w, ax=ax, label="by weight", color="red") is ax
    assert model.plot(X, y) is ax  # the current axes
    weighted, plain = ax.lines
    np.testing.assert_array_equal(plain.get_xdata(), range(1, 10))
    np.testing.assert_allclose(plain.get_ydata(), [1 - s for s in model.staged_score(X, y)])
    np.testing.assert_allclose(weighted.get_ydata(), [1 - s for s in model.staged_score(X, y, w)])
    assert weighted.get_color() == "red"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["by weight"]
    plt.close(figure)
