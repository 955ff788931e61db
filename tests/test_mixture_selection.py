"""select: the best mixture of many, with its table; and the plot."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from closedform.estimators import GaussianMixture, select
from closedform.estimators.mixture_plot import ellipse
from conftest import run_python
from test_gaussian_mixture import KINDS, samples


def two_tubes():
    """Two parallel ellipses: one covariance for both, and no sphere."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 2)) @ [[3.0, 1.0], [0.0, 0.4]]
    x[:150] += [0, 6]
    return x


@pytest.mark.parametrize("criterion", ["bic", "aic"])
def test_select_finds_the_kind_and_the_number(criterion):
    X = two_tubes()
    found = select(X, range(1, 5), criterion=criterion, n_init=2, random_state=0)
    assert (found.best.n_components, found.best.covariance_type) == (2, "tied")
    assert len(found.table) == 16
    scores = [getattr(row, criterion) for row in found.table]
    assert scores == sorted(scores)
    assert scores[0] == pytest.approx(getattr(found.best, criterion)(X))
    same = GaussianMixture(2, covariance_type="tied", n_init=2, random_state=0).fit(X)
    assert found.table[0].lower_bound == same.lower_bound_


def test_the_table_is_readable():
    lines = repr(select(two_tubes(), [1, 2], ["full", "diag"], random_state=0, max_iter=2)).splitlines()
    assert lines[0].split() == ["components", "covariance", "bic", "aic", "iterations"]
    assert len(lines) == 5
    assert all(
        line[end - 1] != " " and line[end : end + 2].isspace() for line in lines[1:] for end in (10, 36, 50)
    )
    assert any(line.endswith("not converged") for line in lines)


def test_candidates_that_fail_come_last():
    X = np.repeat(samples(40, D=2), 2, axis=0)
    X[:, 1] = 3.0
    found = select(X, [1, 2], ["full", "spherical"], reg_covar=0, random_state=0)
    assert [row.covariance_type for row in found.table] == ["spherical", "spherical", "full", "full"]
    assert repr(found).splitlines()[-1].endswith("failed")
    with pytest.raises(ValueError, match="n_components: expected a candidate that can be fitted"):
        select(X, [1, 2], ["full"], reg_covar=0)


def test_bad_searches():
    X = two_tubes()
    with pytest.raises(ValueError, match="criterion: expected one of"):
        select(X, criterion="likelihood")
    with pytest.raises(ValueError, match="covariance_types: expected"):
        select(X, covariance_types="full")
    with pytest.raises(ValueError, match="n_components: expected a candidate"):
        select(X, [500])
    with pytest.raises(ValueError, match="n_components: expected an integer >= 1"):
        select(X, [0])


# -- plot --


@pytest.mark.parametrize("deviations", [1, 2])
def test_the_ellipse_is_a_contour(deviations):
    covariance = np.array([[2.0, -0.7], [-0.7, 0.6]])
    width, height, angle = ellipse(covariance, deviations)
    t, a = np.linspace(0, 2 * np.pi, 17), np.radians(angle)
    along, across = np.array([np.cos(a), np.sin(a)]), np.array([-np.sin(a), np.cos(a)])
    points = np.cos(t)[:, None] * along * width / 2 + np.sin(t)[:, None] * across * height / 2
    distance = np.einsum("ni,ij,nj->n", points, np.linalg.inv(covariance), points)
    np.testing.assert_allclose(distance, deviations**2, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_plot(kind):
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib.figure import Figure

    X = samples()
    model = GaussianMixture(3, covariance_type=kind, random_state=0, tol=1e-2).fit(X)
    ax = Figure().subplots()
    assert model.plot(X, dims=(3, 1), ax=ax) is ax
    (points,) = ax.collections
    np.testing.assert_array_equal(points.get_offsets(), X[:, [3, 1]])
    assert len(ax.patches) == 6
    np.testing.assert_allclose([p.center for p in ax.patches[::2]], model.means_[:, [3, 1]])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("feature 3", "feature 1")
    colours = np.array([p.get_edgecolor()[:3] for p in ax.patches[::2]])
    np.testing.assert_allclose(points.get_facecolor()[:, :3], model.predict_proba(X) @ colours, atol=1e-12)
    with pytest.raises(ValueError, match="dims: expected two features; got 3"):
        model.plot(X, dims=(0, 1, 2), ax=ax)


def test_many_components_have_colours_of_their_own():
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    GaussianMixture(12, covariance_type="diag", random_state=0, tol=1).fit(samples()).plot(samples(), ax=ax)
    assert len({p.get_edgecolor() for p in ax.patches}) == 12


@pytest.mark.parametrize(
    ("gone", "use", "message"),
    [
        ("sklearn", "", 'closedform.estimators needs scikit-learn: pip install "closedform[sklearn]"'),
        (
            "matplotlib",
            "GaussianMixture().fit(X).plot(X)",
            'plot needs matplotlib: pip install "closedform[plot]"',
        ),
    ],
)
def test_an_extra_that_is_not_installed_is_named(gone, use, message):
    code = f"""
import sys
sys.modules[{gone!r}] = None
import numpy as np
from closedform.estimators import GaussianMixture
X = np.eye(2)
{use}
"""
    done = run_python(code)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(message)
