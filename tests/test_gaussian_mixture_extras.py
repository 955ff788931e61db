"""What scikit-learn's GaussianMixture has not: streams, merging, singular covariances, fixed parameters, callbacks."""

import builtins
import os
import signal
import threading
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.exceptions import ConvergenceWarning

import closedform as cf
from closedform.estimators import GaussianMixture, Statistics
from test_gaussian_mixture import KINDS, assert_same_mixture, fitted, given_start, samples


@pytest.fixture(params=("compiled", "reference"))
def backend(request):
    cf.set_backend(request.param)
    return request.param


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


# -- merge and partial_fit --


def test_merged_parts_are_a_step_on_the_whole(backend, kind):
    X, w = samples(), np.random.default_rng(2).uniform(0, 3, 331)
    options = {"covariance_type": kind, "max_iter": 1, "reg_covar": 1e-3, **given_start(X, 3, kind)}
    parts = [
        fitted(X[rows], sample_weight=w[rows], **options) for rows in np.split(np.arange(331), [40, 200])
    ]
    merged = parts[0].merge(parts[1]).merge(parts[2].statistics_)
    whole = fitted(X, sample_weight=w, **options)
    assert_same_mixture(merged, whole, rtol=1e-10)
    assert merged.statistics_.total == pytest.approx(w.sum())
    np.testing.assert_allclose(merged.statistics_.counts, whole.statistics_.counts, rtol=1e-12)
    np.testing.assert_allclose(
        merged.statistics_.covariances, whole.statistics_.covariances, rtol=1e-8, atol=1e-11
    )


def test_the_lower_bound_of_a_merger_is_that_of_the_whole():
    X = samples()
    options = {"max_iter": 1, **given_start(X, 3, "full")}
    a, b = fitted(X[:100], **options), fitted(X[100:], **options)
    assert a.merge(b).lower_bound_ == pytest.approx(fitted(X, **options).lower_bound_, rel=1e-13)


def test_what_cannot_be_merged():
    model = fitted(samples())
    with pytest.raises(ValueError, match=r"other: expected means of shape \(3, 5\)"):
        model.merge(fitted(samples(), 2))
    with pytest.raises(ValueError, match=r"got \(3, 5\) and \(5, 5\)"):
        model.merge(fitted(samples(), covariance_type="tied"))
    with pytest.raises(ValueError, match="not fitted"):
        model.merge(GaussianMixture())
    with pytest.raises(TypeError, match=r"^other: expected a GaussianMixture of closedform or Statistics"):
        model.merge(model.means_)
    tied, diagonal = (fitted(samples(D=3), covariance_type=kind) for kind in ("tied", "diag"))  # both (3, 3)
    with pytest.raises(ValueError, match=r"^other: expected covariance_type 'tied', as here; got 'diag'"):
        tied.merge(diagonal)


def test_statistics_give_their_parameters(kind):
    model = fitted(samples(), covariance_type=kind, reg_covar=1e-2)
    counts, means, covariances = model.statistics_
    np.testing.assert_allclose(counts, 331 * model.weights_)
    np.testing.assert_array_equal(means, model.means_)
    with_none = fitted(samples(), covariance_type=kind, reg_covar=0)
    np.testing.assert_array_equal(with_none.statistics_.covariances, with_none.covariances_)
    assert np.abs(covariances - model.covariances_).max() == pytest.approx(1e-2)


def test_partial_fit_follows_its_formula(backend, kind):
    """s ← (1 − γ) s + γ s(batch) per sample, with γ = t^−κ, written out in raw moments."""
    X, kappa = samples(400), 0.6
    start = given_start(X, 3, kind)
    batches = np.split(X, [100, 220])
    model = GaussianMixture(3, covariance_type=kind, learning_decay=kappa, reg_covar=1e-4, **start)
    s = None
    for t, batch in enumerate(batches, 1):
        r = (
            model.predict_proba(batch)
            if t > 1
            else fitted(batch, max_iter=0, covariance_type=kind, **start).predict_proba(batch)
        )
        new = [
            r.mean(axis=0),
            r.T @ batch / len(batch),
            np.einsum("nk,ni,nj->kij", r, batch, batch) / len(batch),
        ]
        gamma = t**-kappa
        s = new if s is None else [(1 - gamma) * a + gamma * b for a, b in zip(s, new, strict=True)]
        model.partial_fit(batch)
        pi, means = s[0], s[1] / s[0][:, None]
        scatter = s[2] - np.einsum("k,ki,kj->kij", pi, means, means)
        covariances = {
            "full": scatter / pi[:, None, None] + 1e-4 * np.eye(5),
            "tied": scatter.sum(axis=0) + 1e-4 * np.eye(5),
            "diag": np.einsum("kii->ki", scatter) / pi[:, None] + 1e-4,
            "spherical": np.einsum("kii->k", scatter) / pi / 5 + 1e-4,
        }[kind]
        np.testing.assert_allclose(model.weights_, pi, rtol=1e-10)
        np.testing.assert_allclose(model.means_, means, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(model.covariances_, covariances, rtol=1e-7, atol=1e-9)
    assert (model.n_iter_, model.n_batches_, len(model.lower_bounds_)) == (3, 3, 3)
    assert model.statistics_.total == pytest.approx(400)


def test_partial_fit_learns_a_stream():
    """One pass in batches goes most of the way to EM on everything; and it goes on after a fit."""
    X = samples(6000, D=2)
    whole = fitted(X, random_state=0, tol=1e-6)
    stream = GaussianMixture(3, random_state=0).partial_fit(X[:100])
    first = stream.score(X)
    for batch in np.split(X[100:], 59):
        stream.partial_fit(batch)
    assert stream.n_batches_ == 60
    assert stream.score(X) - first >= 0.6 * (whole.score(X) - first) > 0.05
    assert stream.fit(X).partial_fit(X[:1]).n_batches_ == 2


def test_partial_fit_with_weights_and_gaps():
    X = samples()
    w = np.random.default_rng(0).integers(0, 3, 331)
    options = given_start(X, 3, "full")
    weighted = GaussianMixture(3, **options).partial_fit(X, sample_weight=w)
    assert_same_mixture(weighted, GaussianMixture(3, **options).partial_fit(np.repeat(X, w, axis=0)))
    X[::2, 1] = np.nan
    once = GaussianMixture(3, missing="marginalise", **options).partial_fit(X)
    assert_same_mixture(once, fitted(X, missing="marginalise", max_iter=1, **options), rtol=1e-12)


# -- singular covariances --


def duplicated(point, D=3):
    """Two clouds, and a point many times over."""
    rng = np.random.default_rng(0)
    clouds = [rng.standard_normal((60, D)) + 9, rng.standard_normal((50, D)) - 9]
    return np.concatenate([*clouds, np.full((20, D), point)])


def collapsing(kind, point, **options):
    """k-means finds the three."""
    options = {"covariance_type": kind, "reg_covar": 0, "init_params": "kmeans", "random_state": 0, **options}
    return GaussianMixture(3, **options), duplicated(point)


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_singular_covariance_names_its_component(backend, kind):
    model, X = collapsing(kind, 0.0)
    message = r"ill-defined empirical covariance .*component \d, whose effective count is 20 of 130"
    with pytest.raises(ValueError, match=message):
        model.fit(X)


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_singular_component_is_repaired(backend, kind):
    """The mean of equal numbers is not always that number: its variance need not be 0."""
    model, X = collapsing(kind, 1.7, on_singular="repair")
    model.fit(X)
    floor = 1e-6 * X.var(axis=0).mean()
    spike = np.argmin(np.abs(model.means_ - 1.7).sum(axis=1))
    assert model.weights_[spike] == pytest.approx(20 / 130)
    expected = {"full": floor * np.eye(3), "diag": np.full(3, floor), "spherical": floor}[kind]
    np.testing.assert_allclose(model.covariances_[spike], expected, rtol=1e-9, atol=1e-15)
    assert model.converged_
    assert (model.predict(X[110:]) == spike).all()


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_singular_component_is_dropped(backend, kind):
    model, X = collapsing(kind, 1.7, on_singular="drop")
    model.fit(X)
    assert model.weights_.shape == (2,)
    assert model.weights_.sum() == pytest.approx(1)
    assert model.predict_proba(X).shape == (130, 2)
    assert model._n_parameters() < fitted(X, covariance_type=kind)._n_parameters()
    assert model.converged_
    assert model.n_components == 3


@pytest.mark.parametrize("kind", ["diag", "spherical"])
@pytest.mark.parametrize(("on_singular", "components"), [("repair", [3, 3]), ("drop", [3, 2, 2])])
def test_a_component_that_collapses_on_the_way(backend, kind, on_singular, components):
    """In two iterations. A tolerance that any change meets waits for the smaller mixture; no spike is shown."""
    X, seen, spikes = duplicated(1.7), [], []

    def watch(iteration, bound, estimator):
        seen.append(len(estimator.weights_))
        spikes.append(estimator.covariances_.min())

    start = {
        "weights_init": np.full(3, 1 / 3),
        "means_init": np.array([[9.0] * 3, [-9.0] * 3, [1.7] * 3]),
        "precisions_init": np.full((3, 3) if kind == "diag" else 3, 1 / 1.5),
    }
    options = {"covariance_type": kind, "reg_covar": 0, "on_singular": on_singular, "callbacks": [watch]}
    model = fitted(X, tol=1e9, **options, **start)
    assert (seen, model.n_iter_, model.converged_) == (components, len(components), True)
    assert min(spikes) >= 1e-20


@pytest.mark.parametrize("on_singular", ["raise", "drop"])
def test_a_singular_covariance_of_all_cannot_be_dropped(backend, on_singular):
    X = samples()
    X[:, 2] = 4.0  # a constant feature
    with pytest.raises(ValueError, match="the covariance that all components share, of 331 samples"):
        GaussianMixture(3, covariance_type="tied", reg_covar=0, on_singular=on_singular).fit(X)
    with pytest.raises(ValueError, match="component 0"):
        GaussianMixture(3, reg_covar=0, on_singular=on_singular).fit(X)


@pytest.mark.parametrize("kind", ["full", "tied", "diag"])
def test_constant_feature_is_repaired(backend, kind):
    X = samples()
    X[:, 2] = 4.0
    model = fitted(X, covariance_type=kind, reg_covar=0, on_singular="repair", random_state=0)
    assert np.isfinite(model.score(X))
    np.testing.assert_allclose(model.means_[:, 2], 4.0)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("reg_covar", [1e-6, "auto"])
def test_more_components_than_distinct_points(backend, kind, reg_covar):
    X = np.repeat([[1.0, 2.0], [3.0, -1.0]], 10, axis=0)
    model = fitted(X, 5, covariance_type=kind, reg_covar=reg_covar, random_state=0)
    assert np.isfinite(model.score(X))
    assert model.weights_.sum() == pytest.approx(1)


def test_repair_and_merge():
    X = samples()[:, :3]
    singular = Statistics(np.ones(1), np.zeros((1, 3)), np.zeros((1, 3, 3)))
    model = GaussianMixture(1, reg_covar=0).fit(X)
    before = model.means_.copy()
    with pytest.raises(ValueError, match="merged covariance of component 0"):
        model.merge(singular._replace(covariances=-1e9 * np.eye(3)[None]))
    np.testing.assert_array_equal(model.means_, before)


def test_automatic_reg_covar_knows_the_scale():
    X = samples()
    for scale in (1e-9, 1.0, 1e7):
        model = fitted(X * scale, reg_covar="auto", random_state=0, max_iter=5)
        assert model.reg_covar_ == pytest.approx(1e-6 * (X * scale).var(axis=0).mean())
        reference = fitted(X, reg_covar="auto", random_state=0, max_iter=5)
        np.testing.assert_allclose(model.means_ / scale, reference.means_, rtol=1e-6, atol=1e-8)
    assert fitted(np.ones((5, 2)), 1, reg_covar="auto").reg_covar_ == 1e-6


# -- fixed parameters --


@pytest.mark.parametrize("fixed", ["weights", "means", "covariances", ("means", "weights")])
def test_fixed_parameters_stay(backend, kind, fixed):
    X = samples()
    start = given_start(X, 3, kind)
    model = fitted(X, covariance_type=kind, fixed=fixed, tol=0, max_iter=15, **start)
    before = fitted(X, covariance_type=kind, max_iter=0, **start)
    for name in ("weights", "means", "covariances"):
        same = np.array_equal(getattr(model, name + "_"), getattr(before, name + "_"))
        assert same == (name in np.atleast_1d(fixed)), name
    assert min(np.diff(model.lower_bounds_)) >= -1e-13 * abs(model.lower_bounds_[0])


def test_covariances_are_about_the_fixed_means(backend, kind):
    X = samples()
    start = given_start(X, 3, kind)
    before = fitted(X, covariance_type=kind, max_iter=0, **start)
    model = fitted(X, covariance_type=kind, fixed="means", max_iter=1, reg_covar=0, **start)
    r = before.predict_proba(X)
    z = X[:, None] - start["means_init"]
    scatter = np.einsum("nk,nki,nkj->kij", r, z, z)
    n = r.sum(axis=0)
    expected = {
        "full": scatter / n[:, None, None],
        "tied": scatter.sum(axis=0) / len(X),
        "diag": np.einsum("kii->ki", scatter) / n[:, None],
        "spherical": np.einsum("kii->k", scatter) / n / 5,
    }
    np.testing.assert_allclose(model.covariances_, expected[kind], rtol=1e-10, atol=1e-12)


# -- callbacks, progress and Ctrl-C --


def test_callbacks_see_every_iteration(backend, kind):
    seen = []
    X, start = samples(), given_start(samples(), 3, kind)

    def watch(iteration, bound, estimator):
        seen.append((iteration, bound, estimator.score(X), estimator.means_.copy()))

    model = fitted(X, covariance_type=kind, max_iter=4, tol=0, callbacks=(watch,), **start)
    assert [i for i, *_ in seen] == [1, 2, 3, 4]
    assert [bound for _, bound, *_ in seen] == model.lower_bounds_
    # A bound is of the parameters before the iteration, the score of those after it.
    np.testing.assert_allclose([s for *_, s, _ in seen[:-1]], model.lower_bounds_[1:], rtol=1e-10)
    np.testing.assert_array_equal(seen[-1][-1], model.means_)


@pytest.mark.parametrize("callbacks", [print, (print, "print")])
def test_callbacks_that_are_none(callbacks):
    with pytest.raises(TypeError, match=r"^callbacks: expected a list or tuple of functions; got"):
        GaussianMixture(callbacks=callbacks).fit(samples())


def test_a_callback_stops_the_climb(backend):
    calls = []
    callbacks = (lambda i, *_: i == 3, lambda *a: calls.append(a))
    model = fitted(samples(), tol=0, callbacks=callbacks, random_state=0)
    assert (model.n_iter_, model.converged_, len(calls)) == (3, False, 3)


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
            self.scores.append(fitted_estimator.score(X))
            return context.task_name == "iteration" and context.task_id == 1

    recorder, X = Recorder(), samples()
    model = GaussianMixture(3, n_init=2, tol=0, random_state=0).set_callbacks(recorder)
    with pytest.warns(ConvergenceWarning):
        model.fit(X)
    climb = ["initialization", "iteration", "iteration"]
    assert recorder.tasks == ["setup", "fit", *climb, *climb]
    assert recorder.scores[-1] == pytest.approx(model.score(X))
    assert recorder.torn_down == 1


def test_ctrl_c_leaves_the_last_parameters(backend):
    X, start = samples(), given_start(samples(), 3, "full")

    def interrupt(iteration, *_):
        if iteration == 3:
            raise KeyboardInterrupt

    model = GaussianMixture(3, tol=0, callbacks=(interrupt,), **start)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert_same_mixture(model, fitted(X, tol=0, max_iter=3, **start), rtol=1e-12)
    assert (model.n_iter_, model.converged_) == (3, False)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("options", [{}, {"fixed": "weights"}])
def test_a_signal_interrupts_the_compiled_loop(options):
    X = samples(20_000, D=8)
    model = GaussianMixture(
        3, tol=0, max_iter=10**9, init_params="random_from_data", random_state=0, **options
    )
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    timer.join()
    assert model.n_iter_ == len(model.lower_bounds_) > 0
    assert model.score(X) >= model.lower_bound_ - 1e-9
    assert model.set_params(max_iter=2, warm_start=True, tol=1e9).fit(X).converged_


def test_verbose_shows_a_bar(capfd):
    pytest.importorskip("tqdm")
    fitted(samples(), verbose=1, n_init=2, random_state=0)
    shown = capfd.readouterr()
    assert "initialization 1" in shown.err
    assert "converged" in shown.err
    assert shown.out == ""


def test_verbose_without_tqdm_prints_lines(capsys, monkeypatch):
    real = builtins.__import__

    def no_tqdm(name, *args, **options):
        if name.startswith("tqdm"):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", no_tqdm)
    fitted(samples(), verbose=2, verbose_interval=2, tol=0, max_iter=4, random_state=0)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0].strip() for line in lines[:3]] == [
        "Initialization 0",
        "Iteration 2",
        "Iteration 4",
    ]
    assert "ll change" in lines[1]
    assert lines[3].startswith("Initialization did not converge. time lapse")


def test_quiet_fits_say_nothing(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GaussianMixture(3, random_state=0).fit(samples())
    assert capfd.readouterr() == ("", "")
