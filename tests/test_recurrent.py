"""RNN and LSTM on both floors: against PyTorch (golden/), differences, definitions; lengths, directions, edges."""

import itertools

import numpy as np
import pytest

import closedform as cf
from conftest import GOLDEN

EPS = np.finfo(np.float64).eps
T, N, D, H = 5, 4, 3, 3
LENGTHS = np.array([5, 0, 1, 3])
OPTIONS = [
    (op, {key: activation, "lengths": lengths, "reverse": reverse})
    for op, key, activations in (
        ("rnn", "nonlinearity", ("tanh", "relu")),
        ("lstm", "cell_activation", ("tanh", "identity")),
    )
    for activation, lengths, reverse in itertools.product(activations, (None, LENGTHS), (False, True))
]
every_option = pytest.mark.parametrize(("op", "options"), OPTIONS, ids=str)
every_op = pytest.mark.parametrize("op", ["rnn", "lstm"])


@pytest.fixture(params=["compiled", "reference"], autouse=True)
def backend(request):
    with cf.use_backend(request.param):
        yield request.param


def draw(op, T=T, N=N, D=D, H=H, seed=0):
    """x, w_x, w_h, b and the initial states."""
    rng = np.random.default_rng([seed, T, N, D, H])
    G, n_states = (1, 1) if op == "rnn" else (4, 2)
    shapes = ((T, N, D), (D, G * H), (H, G * H), (G * H,), *n_states * [(N, H)])
    x, w_x, w_h, b, *states = (rng.normal(size=shape) for shape in shapes)
    return [x, w_x, w_h, b + 0.5, *states]  # with some bias, half of what relu sees is positive


def forward(op, *args, **options):
    return getattr(cf, op)(*args, **options)


def results(trace):
    """(h, h_last), of an LSTM (h, h_last, c_last)."""
    return tuple(trace[: 2 if isinstance(trace, cf.RNN) else 3])


def backward(op, trace, dh, *dlast):
    last = dict(zip(("dh_last", "dc_last"), dlast, strict=False))
    return getattr(cf, f"{op}_backward")(dh, trace, **last)


# -- against PyTorch --


@every_op
@pytest.mark.parametrize("case", range(6))
def test_golden(op, case):
    with np.load(GOLDEN / f"{op}.npz") as file:
        golden = {name[3:]: file[name] for name in file if name.startswith(f"{case:02d}/")}
    states, last = (("h0",), ("h",)) if op == "rnn" else (("h0", "c0"), ("h", "c"))
    trace = forward(op, *(golden[name] for name in ("x", "w_x", "w_h", "b", *states)))
    gradients = backward(op, trace, golden["dh"], *(golden[f"d{s}_last"] for s in last))
    expected = {"h": golden["out.h"], "h_last": golden["out.h"][-1], "c_last": golden.get("out.c_last")}
    found = zip(expected.values(), results(trace), strict=False)
    names = ("x", "w_x", "w_h", "b", *states)
    for e, f in (*found, *((golden[f"grad.{n}"], g) for n, g in zip(names, gradients, strict=True))):
        assert np.max(np.abs(f - e)) <= 32 * EPS * max(1, np.max(np.abs(e)))


# -- against differences --


@every_option
@pytest.mark.parametrize("with_states", [True, False])
def test_gradients(op, options, with_states):
    point = draw(op)[: None if with_states else 3]
    if op == "rnn" and options["nonlinearity"] == "relu":
        h = forward(op, *point, **options).h
        assert np.min(h[h > 0]) > 5e-3  # away from the kink
        assert np.mean(h > 0) > 0.2

    def f(*inputs):
        return np.concatenate([a.ravel() for a in results(forward(op, *inputs, **options))])

    def df(dy, *inputs):
        trace = forward(op, *inputs, **options)
        sizes = np.cumsum([a.size for a in results(trace)])[:-1]
        dresults = [d.reshape(a.shape) for d, a in zip(np.split(dy, sizes), results(trace), strict=True)]
        return tuple(backward(op, trace, *dresults))[: len(inputs)]

    report = cf.gradcheck(f, df, point)
    assert report, str(report)
    assert report.n_checked == sum(a.size for a in point)


@every_option
def test_what_is_not_given_is_zero(op, options):
    """Absent states, bias and gradients of the last states; their gradients are there all the same."""
    x, w_x, w_h, b, *states = draw(op)
    dh = np.random.default_rng(1).normal(size=(T, N, H))
    nothing = forward(op, x, w_x, w_h, **options)
    zeros = forward(op, x, w_x, w_h, 0 * b, *(0 * s for s in states), **options)
    for a, b_ in zip(results(nothing), results(zeros), strict=True):
        np.testing.assert_array_equal(a, b_)
    full = backward(op, zeros, dh, *(0 * s for s in states))
    for a, b_ in zip(backward(op, nothing, dh), full, strict=True):
        np.testing.assert_array_equal(a, b_)
    assert all(np.any(g) for g in full)


# -- lengths and directions, by the definition --


def alone(op, args, n, length, reverse):
    """Row n by itself, cut to its length and turned to run forwards."""
    x, w_x, w_h, b, *states = args
    x = x[:length, n : n + 1]
    return (x[::-1] if reverse else x), w_x, w_h, b, *(s[n : n + 1] for s in states)


@every_option
def test_every_row_as_if_alone(op, options):
    args = draw(op)
    reverse, lengths = options["reverse"], options["lengths"]
    single = options | {"lengths": None, "reverse": False}
    rng = np.random.default_rng(2)
    trace = forward(op, *args, **options)
    dh, *dlast = (rng.normal(size=a.shape) for a in results(trace))
    dx, *dweights = backward(op, trace, dh, *dlast)
    total = [np.zeros_like(g) for g in dweights[:3]]

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=64 * EPS * max(1, np.max(np.abs(b), initial=0)))

    for n in range(N):
        length = T if lengths is None else lengths[n]
        turn = slice(None, None, -1) if reverse else slice(None)
        one = forward(op, *alone(op, args, n, length, reverse), **single)
        close(one.h[turn, 0], trace.h[:length, n])
        assert not trace.h[length:, n].any()
        for mine, ours in zip(results(one)[1:], results(trace)[1:], strict=True):
            close(mine[0], ours[n])
        if length == 0:
            for last, initial in zip(results(trace)[1:], args[4:], strict=True):
                np.testing.assert_array_equal(last[n], initial[n])
        mine = backward(op, one, dh[:length, n : n + 1][turn], *(d[n : n + 1] for d in dlast))
        close(mine.dx[turn, 0], dx[:length, n])
        assert not dx[length:, n].any()
        for sum_, g in zip(total, mine[1:4], strict=True):
            sum_ += g
        for g, ours in zip(mine[4:], dweights[3:], strict=True):
            close(g[0], ours[n])
    for sum_, ours in zip(total, dweights[:3], strict=True):
        close(sum_, ours)


@every_option
def test_what_stands_past_a_length_has_no_influence(op, options):
    if options["lengths"] is None:
        return
    args = draw(op)
    past = np.arange(T)[:, None] >= LENGTHS
    dh = np.random.default_rng(3).normal(size=(T, N, H))
    clean = forward(op, *args, **options)
    clean_gradients = backward(op, clean, dh)
    for junk in (np.nan, np.inf, 1e300):
        args[0][past], dh[past] = junk, junk
        trace = forward(op, *args, **options)
        for a, b in zip(
            (*results(trace), *backward(op, trace, dh)), (*results(clean), *clean_gradients), strict=True
        ):
            np.testing.assert_array_equal(a, b)


@every_op
def test_lengths_of_all_steps_are_no_lengths(op):
    args = draw(op)
    whole = forward(op, *args)
    for lengths in ([T] * N, np.full(N, T, np.uint8), np.full(2 * N, T, np.int32)[::2]):
        for a, b in zip(results(forward(op, *args, lengths=lengths)), results(whole), strict=True):
            np.testing.assert_array_equal(a, b)
    none = forward(op, *args, lengths=[0] * N)
    assert not none.h.any()
    ones = forward(op, *args, lengths=[1] * N)
    np.testing.assert_array_equal(ones.h[0], whole.h[0])
    assert not ones.h[1:].any()
    for reverse in (False, True):
        np.testing.assert_array_equal(forward(op, *args, lengths=[1] * N, reverse=reverse).h, ones.h)


@every_op
@pytest.mark.parametrize(
    ("lengths", "error", "said"),
    [
        ([0, 1, 2, T + 1], ValueError, r"^lengths: expected integers in \[0, 5\], the steps of x; got 6"),
        ([0, 1, 2, -1], ValueError, r"^lengths: .*; got -1"),
        (np.array([1, 2, 3, 2**63], np.uint64), ValueError, r"^lengths: .*; got 9223372036854775808"),
        ([1, 2, 3], ValueError, r"^lengths: expected shape \(4,\), one length for each row; got \(3,\)"),
        ([1.0, 2.0, 3.0, 4.0], TypeError, r"^lengths: expected integers; got dtype float64"),
    ],
)
def test_lengths_that_cannot_be(op, lengths, error, said):
    args = draw(op)
    with pytest.raises(error, match=said):
        forward(op, *args, lengths=lengths)
    trace = forward(op, *args)._replace(lengths=np.asarray(lengths))
    with pytest.raises(error, match=said.replace("^", "^trace.")):
        backward(op, trace, np.ones((T, N, H)))


# -- edges --


@every_op
@pytest.mark.parametrize(
    ("T", "N", "D", "H"), [(0, 4, 3, 3), (5, 0, 3, 3), (0, 0, 0, 0), (5, 4, 0, 3), (5, 4, 3, 0), (1, 1, 1, 1)]
)
def test_small_and_empty(op, T, N, D, H):
    args = draw(op, T, N, D, H)
    trace = forward(op, *args)
    assert trace.h.shape == (T, N, H)
    if T == 0:
        for last, initial in zip(results(trace)[1:], args[4:], strict=True):
            np.testing.assert_array_equal(last, initial)
    ones = [np.ones_like(a) for a in results(trace)]
    gradients = backward(op, trace, *ones)
    assert [g.shape for g in gradients] == [a.shape for a in args]
    if T == 0:
        assert not any(g.any() for g in gradients[1:4])
        assert all(np.all(g == 1) for g in gradients[4:])


@every_op
def test_saturated_gates(op):
    x, w_x, w_h, b, *states = draw(op)
    trace = forward(op, x, 0 * w_x, 0 * w_h, np.where(b > 0, 1e4, -1e4), *states)
    on = np.broadcast_to(b > 0, (T, N, len(b)))
    if op == "rnn":
        np.testing.assert_array_equal(trace.h, np.where(on, 1, -1))
    else:
        i, f, g, o = np.split(on, 4, axis=-1)
        np.testing.assert_array_equal(trace.gates, np.concatenate((i, f, np.where(g, 1, -1), o), axis=-1))
        np.testing.assert_allclose(trace.c[0], f[0] * states[1] + i[0] * np.where(g[0], 1, -1), rtol=EPS)
    gradients = backward(op, trace, *(np.ones_like(a) for a in results(trace)))
    assert all(np.isfinite(g).all() for g in gradients)
    assert not gradients[3][
        : H if op == "rnn" else 3 * H
    ].any()  # σ' and tanh' of gates that are shut or open


@every_op
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_spoiled_entry_spoils_its_row_from_then_on(op, value):
    args = draw(op)
    clean = forward(op, *args)
    args[0][2, 1, 0] = value
    trace = forward(op, *args)
    others = [0, 2, 3]
    np.testing.assert_allclose(trace.h[:, others], clean.h[:, others], rtol=0, atol=8 * EPS)
    np.testing.assert_allclose(trace.h[:2], clean.h[:2], rtol=0, atol=8 * EPS)
    if np.isnan(value):
        assert np.isnan(trace.h[2:, 1]).all()
        gradients = backward(op, trace, np.ones((T, N, H)))
        assert np.isnan(gradients.dx[:, 1]).all()
        assert np.isfinite(gradients.dx[:, others]).all()
        assert all(np.isnan(g).any() for g in gradients[1:4])
    else:
        assert np.all(np.abs(trace.h[2:, 1]) <= (1 if op == "rnn" else np.inf))  # saturated, and no NaN


# -- results --


@every_op
def test_sequence_is_its_steps(op):
    (
        x,
        *weights,
    ) = draw(op)
    weights, states = weights[:3], weights[3:]
    trace = forward(op, x, *weights, *states)
    step = getattr(cf, f"{op}_step")
    for t in range(T):
        state = step(x[t], *states, *weights)
        states = [state] if op == "rnn" else list(state)
        np.testing.assert_allclose(states[0], trace.h[t], rtol=0, atol=8 * EPS)
    for a, b in zip(states, results(trace)[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=8 * EPS)


@every_op
def test_out_of_backward(op):
    args = draw(op)
    trace = forward(op, *args)
    dh = np.random.default_rng(4).normal(size=(T, N, H))
    expected = backward(op, trace, dh)
    function = getattr(cf, f"{op}_backward")
    for left_out in (*range(len(args)), None):
        out = tuple(None if i == left_out else np.full(a.shape, np.nan) for i, a in enumerate(args))
        found = function(dh, trace, out=out)
        for f, o, e in zip(found, out, expected, strict=True):
            assert o is None or f is o
            np.testing.assert_array_equal(f, e)
    with pytest.raises(ValueError, match=r"^out dx: expected memory of its own"):
        function(dh, trace, out=(trace.x, *[None] * (len(args) - 1)))
    with pytest.raises(ValueError, match=r"^out dh0: expected memory of its own"):
        function(dh, trace, out=(*[None] * 4, trace.h[0], *[None] * (len(args) - 5)))
    with pytest.raises(TypeError, match=r"^out: expected a tuple \(dx, dw_x, dw_h, db, dh0"):
        function(dh, trace, out=(None, None))


@every_op
def test_dtypes(op):
    args = [a.astype(np.float32) for a in draw(op)]
    trace = forward(op, *args, lengths=LENGTHS)
    assert all(a.dtype == np.float32 for a in (*results(trace), *backward(op, trace, trace.h)))
    assert trace.x is args[0]
    assert all(a.dtype == np.float64 for a in results(forward(op, *args[:3], args[3].astype(np.float64))))
    assert all(a.dtype == np.float64 for a in backward(op, trace, trace.h.astype(np.float64)))
    step = getattr(cf, f"{op}_step")(args[0][0], *args[4:], *args[1:4])
    assert all(a.dtype == np.float32 for a in (step if op == "lstm" else [step]))
