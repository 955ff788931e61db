"""Recurrent networks of the textbook: two worked losses, with every gradient by hand, and the worked trace."""

import itertools

import numpy as np
import pytest

import closedform as cf

EPS = np.finfo(np.float64).eps
T, N, D, H, K = 4, 3, 2, 3, 5


@pytest.fixture(params=["compiled", "reference"], autouse=True)
def backend(request):
    with cf.use_backend(request.param):
        yield request.param


def draw(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def parameters(columns):
    """U (of x), W (of h), b, V and c of the head, x, and h_0, which is not zero."""
    return [draw(D, H), draw(H, H), draw(H), draw(H, columns), draw(columns), draw(T, N, D), draw(N, H)]


def check(f, backward, point):
    report = cf.gradcheck(f, backward, point)
    assert report, str(report)
    assert report.n_checked == sum(a.size for a in point)


def test_softmax_at_every_step():
    # ŷ_t = softmax(h_t V + c), L = Σ_t L_t with L_t the cross-entropy of step t
    labels = np.random.default_rng(0).integers(0, K, (T, N))

    def run(u, w, b, v, c, x, h0):
        trace = cf.rnn(x, u, w, b, h0)
        return trace, trace.h @ v + c

    def loss(*point):
        _, z = run(*point)
        return cf.cross_entropy(z.reshape(-1, K), labels.ravel(), reduction="sum")

    def backward(dy, u, w, b, v, c, x, h0):
        trace, z = run(u, w, b, v, c, x, h0)
        dz = dy * (cf.softmax(z) - np.eye(K)[labels])  # ŷ - y
        dv, dc = sum(trace.h[t].T @ dz[t] for t in range(T)), dz.sum(axis=(0, 1))
        dx, du, dw, db, dh0 = cf.rnn_backward(dz @ v.T, trace)
        return du, dw, db, dv, dc, dx, dh0

    check(loss, backward, parameters(K))


def test_logistic_head_on_the_last_step():
    # ŷ = σ(h_T V + c) and the binary cross-entropy: dz = ŷ - y reaches the network through h_T alone
    y = np.random.default_rng(1).uniform(0.1, 0.9, (N, 1))

    def run(u, w, b, v, c, x, h0):
        trace = cf.rnn(x, u, w, b, h0)
        return trace, trace.h_last @ v + c

    def loss(*point):
        return cf.binary_cross_entropy_with_logits(run(*point)[1], y, reduction="sum")

    def backward(dy, u, w, b, v, c, x, h0):
        trace, z = run(u, w, b, v, c, x, h0)
        dz = dy * (cf.sigmoid(z) - y)
        dx, du, dw, db, dh0 = cf.rnn_backward(np.zeros_like(trace.h), trace, dh_last=dz @ v.T)
        return du, dw, db, trace.h_last.T @ dz, dz.sum(axis=0), dx, dh0

    check(loss, backward, parameters(1))


def test_the_factors_alternate():
    """∂h_T/∂h_0 is a product of W diag(1 − h_t²), step by step; with the powers of W collected it is something else."""
    u, w, b, _, _, x, h0 = parameters(1)
    trace = cf.rnn(x[:, :1], u, w, b, h0[:1])
    slopes = 1 - trace.h[:, 0] ** 2
    alternating = np.linalg.multi_dot(
        [f for s in slopes for f in (w, np.diag(s))]
    )  # of row vectors: h_0 first
    collected = np.linalg.matrix_power(w, T) @ np.diag(np.prod(slopes, axis=0))

    def jacobian():
        for e in np.eye(H):  # a column: the gradient of one entry of h_T
            yield cf.rnn_backward(np.zeros_like(trace.h), trace, dh_last=e[None]).dh0[0]

    found = np.array(list(jacobian())).T
    np.testing.assert_allclose(found, alternating, rtol=0, atol=64 * EPS)
    assert np.max(np.abs(found - collected)) > 0.1 * np.max(np.abs(found))


def test_the_initial_state_is_in_the_gradient_of_the_recurrent_weights():
    """Over two steps, dW = h_0ᵀ δ_1 + h_1ᵀ δ_2. Without its first term it is right for h_0 = 0 alone."""
    u, w, b, _, _, x, h0 = parameters(1)
    dh = draw(2, N, H, seed=1)
    for initial in (h0, 0 * h0):
        trace = cf.rnn(x[:2], u, w, b, initial)
        h_1, h_2 = trace.h
        delta_2 = dh[1] * (1 - h_2**2)
        delta_1 = (dh[0] + delta_2 @ w.T) * (1 - h_1**2)
        dw = cf.rnn_backward(dh, trace).dw_h
        np.testing.assert_allclose(dw, initial.T @ delta_1 + h_1.T @ delta_2, rtol=0, atol=64 * EPS)
        forgotten = np.max(np.abs(dw - h_1.T @ delta_2))
        assert forgotten > 0.1 if initial.any() else forgotten <= 64 * EPS


# -- the worked trace: one cell, no recurrent weights, identity for φ --

X = np.array([[0, 1, 0, 3], [1, 0, 1, -2], [1, 1, 1, 4], [0, 1, 1, 0]], float)[:, None]
#              z_i  z_f  z_g  z_o
W = np.array([[100, -100, 0, 0], [100, -100, 0, 0], [0, 0, 0, 100], [0, 0, 1, 0]], float)
B = np.array([-10, 110, 0, -10], float)
EXPECTED = {
    "z_i": [90, 90, 190, 90],
    "z_f": [10, 10, -90, 10],
    "z_o": [-10, 90, 90, 90],
    "z_g": [3, -2, 4, 0],
    "c": [3, 1, 4, 4],
    "y": [0, 1, 4, 4],
}


def read(table):
    header, *lines = table.splitlines()
    columns = zip(*(map(float, line.split()) for line in lines), strict=True)
    return dict(zip(header.split(), map(np.array, columns), strict=True))


def test_worked_trace():
    trace = cf.lstm(X, W, np.zeros((1, 4)), B, cell_activation="identity")
    np.testing.assert_allclose(trace.c.ravel(), EXPECTED["c"], rtol=0, atol=1e-3)
    np.testing.assert_allclose(trace.h.ravel(), EXPECTED["y"], rtol=0, atol=1e-3)
    table = read(trace.table())
    assert list(table["t"]) == [0, 1, 2, 3]
    for name, column in EXPECTED.items():
        np.testing.assert_allclose(table[name], column, rtol=0, atol=1e-3)
    for z, f in (("z_i", "f(z_i)"), ("z_f", "f(z_f)"), ("z_o", "f(z_o)")):
        np.testing.assert_allclose(table[f], cf.sigmoid(table[z]), rtol=0, atol=1e-3)
    np.testing.assert_array_equal(table["g"], table["z_g"])


@pytest.mark.parametrize(
    ("reverse", "with_states", "lengths"),
    list(itertools.product((False, True), (False, True), (None, [4, 2, 0]))),
)
def test_table_tells_every_gate(reverse, with_states, lengths):
    states = (draw(N, H, seed=1), draw(N, H, seed=2)) if with_states else ()
    x, w_x, w_h, b = draw(T, N, D), draw(D, 4 * H), draw(H, 4 * H), draw(4 * H)
    trace = cf.lstm(x, w_x, w_h, b, *states, lengths=lengths, reverse=reverse)
    for row, unit in itertools.product(range(N), range(H)):
        steps = list(range(T if lengths is None else lengths[row]))[:: -1 if reverse else 1]
        assert len(trace.table(row, unit).splitlines()) == 1 + len(steps)
        if not steps:
            continue
        table = read(trace.table(row, unit))
        assert list(table["t"]) == steps
        for gate, name in enumerate(("f(z_i)", "f(z_f)", "g", "f(z_o)")):
            np.testing.assert_allclose(table[name], trace.gates[steps, row, gate * H + unit], atol=6e-4)
        for z, f, activation in (
            ("z_i", "f(z_i)", cf.sigmoid),
            ("z_f", "f(z_f)", cf.sigmoid),
            ("z_o", "f(z_o)", cf.sigmoid),
            ("z_g", "g", cf.tanh),
        ):
            np.testing.assert_allclose(table[f], activation(table[z]), atol=2e-3)
        np.testing.assert_allclose(table["c"], trace.c[steps, row, unit], atol=6e-4)
        np.testing.assert_allclose(table["y"], trace.h[steps, row, unit], atol=6e-4)


def test_table_of_a_row_or_unit_that_is_not_there():
    trace = cf.lstm(X, W, np.zeros((1, 4)), B)
    with pytest.raises(ValueError, match=r"^row: expected an integer in \[0, 1\); got 1"):
        trace.table(row=1)
    with pytest.raises(ValueError, match=r"^unit: expected an integer in \[0, 1\); got -1"):
        trace.table(unit=-1)
