"""The recurrent layers: gradients through stacks, directions and lengths, the carried state, streams."""

import copy
import pickle

import numpy as np
import pytest

import closedform as cf
from closedform import nn
from conftest import same_bits

BACKENDS = ("compiled", "reference")
F64 = np.float64
KINDS = {
    "rnn": lambda *sizes, **options: nn.RNN(*sizes, **options),
    "relu": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
    "lstm": lambda *sizes, **options: nn.LSTM(*sizes, **options),
    "identity": lambda *sizes, **options: nn.LSTM(*sizes, cell_activation="identity", **options),
}


@pytest.fixture(params=BACKENDS)
def backend(request):
    with cf.use_backend(request.param):
        yield request.param


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def build(kind: str, *sizes: int, **options) -> nn.RNN | nn.LSTM:
    """A layer with biases that are not 0, and dropout that draws the same mask every time."""
    layer = KINDS[kind](*sizes, **{"dtype": F64, "seed": 0} | options)
    for i, (name, p) in enumerate(layer.parameters().items()):
        if name.endswith("b"):
            p += 0.5 * draw(p.size, seed=i)
    return layer


def forward(layer, x, **options):
    layer.reseed(np.random.default_rng(3))
    return layer.forward(x, training=True, **options).copy()


def check_gradients(layer, x, **options):
    """dx, and the gradient of every parameter, against central differences."""
    parameters = layer.parameters()
    point = [x, *(p.copy() for p in parameters.values())]

    def f(x, *values):
        for p, value in zip(parameters.values(), values, strict=True):
            p[...] = value
        return forward(layer, x, **options)

    def backward(dy, x, *values):
        f(x, *values)
        dx = layer.backward(dy)
        return [dx, *layer.gradients().values()]

    report = cf.gradcheck(f, backward, point)
    assert report, str(report)
    assert report.n_checked == sum(a.size for a in point)


# -- gradients --

OPTIONS = [
    {},
    {"bias": False},
    {"bidirectional": True},
    {"num_layers": 3},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
    {"num_layers": 2, "dropout": 0.4},
    {"num_layers": 2, "bidirectional": True, "dropout": 0.3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_gradients(kind, options, backend):
    check_gradients(build(kind, 3, 2, **options), draw(4, 3, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_rows_of_several_lengths(kind, backend):
    layer = build(kind, 3, 2, num_layers=2, bidirectional=True, batch_first=True)
    check_gradients(layer, draw(4, 5, 3), lengths=[5, 1, 3, 0])


def test_gradients_through_a_network(backend):
    model = nn.Sequential(
        nn.Dense(2, 3, dtype=F64),
        nn.Sequential(nn.LSTM(3, 2, bidirectional=True, dtype=F64), nn.RNN(4, 3, dtype=F64)),
        nn.LastStep(),
        nn.Dense(3, 2, dtype=F64),
        seed=0,
    )
    check_gradients(model, draw(4, 3, 2), lengths=[4, 2, 3])


def test_backward_parameters_gives_the_same_gradients(backend):
    layer, x, dy = build("lstm", 3, 2, num_layers=2), draw(4, 3, 3), draw(4, 3, 2, seed=1)
    layer.forward(x, training=True)
    layer.backward(dy)
    expected = {name: g.copy() for name, g in layer.gradients().items()}
    for g in layer.gradients().values():
        g.fill(np.nan)
    layer.backward_parameters(dy)
    for name, g in layer.gradients().items():
        np.testing.assert_array_equal(g, expected[name])


# -- what a layer computes --


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_the_ops_on_top_of_each_other(kind, backend):
    layer, x, lengths = build(kind, 3, 2, 2, bidirectional=True), draw(5, 3, 3), [5, 0, 2]
    op = cf.lstm if kind in ("lstm", "identity") else cf.rnn
    option = {"relu": {"nonlinearity": "relu"}, "identity": {"cell_activation": "identity"}}.get(kind, {})
    p, y = layer.parameters(), x
    for i in range(2):
        traces = [
            op(
                y, *(p[f"{i}.{direction}{name}"] for name in ("w_x", "w_h", "b")),
                lengths=lengths, reverse=bool(direction), **option,
            )
            for direction in ("", "reverse.")
        ]  # fmt: skip
        y = np.concatenate([trace.h for trace in traces], axis=-1)
    assert same_bits(layer.forward(x, lengths=lengths), y)
    assert same_bits(layer.forward(x, training=True, lengths=lengths), y)
    assert same_bits(layer.trace.h, traces[0].h)


def test_batch_first_is_another_view_of_the_same(backend):
    first, second = (build("lstm", 3, 2, num_layers=2, batch_first=flag) for flag in (False, True))
    x, dy = draw(5, 4, 3), draw(5, 4, 2, seed=1)
    y, z = (layer.forward(a, training=True) for layer, a in ((first, x), (second, x.swapaxes(0, 1))))
    np.testing.assert_array_equal(y, z.swapaxes(0, 1))
    np.testing.assert_array_equal(first.backward(dy), second.backward(dy.swapaxes(0, 1)).swapaxes(0, 1))


def test_what_lies_past_the_length_has_no_influence(backend):
    layer, x, dy = build("lstm", 3, 2, 2, bidirectional=True), draw(5, 2, 3), draw(5, 2, 4, seed=1)
    layer.forward(x[:3], training=True)
    short = layer.backward(dy[:3]).copy(), *(g.copy() for g in layer.gradients().values())
    x[3:], dy[3:] = np.nan, np.nan
    y = layer.forward(x, training=True, lengths=[3, 3])
    long = layer.backward(dy), *layer.gradients().values()
    assert not y[3:].any()
    assert not long[0][3:].any()
    np.testing.assert_allclose(long[0][:3], short[0], rtol=1e-13, atol=1e-15)
    for got, expected in zip(long[1:], short[1:], strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-15)


def test_lengths_reach_every_layer_of_a_network(backend):
    model = nn.Sequential(
        nn.Sequential(nn.Dense(3, 2), nn.LSTM(2, 4, bidirectional=True)),
        nn.RNN(8, 3, 2, bidirectional=True),
        nn.LastStep(bidirectional=True),
        seed=0,
    )
    x, lengths = draw(6, 4, 3).astype(np.float32), [6, 1, 3, 2]
    y = model(x, lengths=lengths)
    for n, length in enumerate(lengths):
        np.testing.assert_allclose(y[n], model(x[:length, n : n + 1])[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("given", [np.uint8, np.int64, np.float32, np.float64])
def test_layers_compute_in_their_own_dtype(given, dtype, backend):
    layer = nn.LSTM(3, 2, dtype=dtype, seed=0)
    x = np.random.default_rng(0).integers(0, 3, (4, 2, 3)).astype(given)
    for training in (False, True):
        y = layer.forward(x, training=training)
        assert same_bits(y, layer(x.astype(dtype)))
    assert layer.backward(np.ones((4, 2, 2))).dtype == dtype


# -- memory --


def test_inference_returns_new_arrays_and_leaves_the_layer_alone(backend):
    layer = build("lstm", 3, 2, 2, bidirectional=True)
    x, z, dy = draw(4, 2, 3), draw(4, 2, 3, seed=1), draw(4, 2, 4)
    layer.forward(x, training=True)
    dx = layer.backward(dy).copy()
    y = layer.forward(x, training=True)
    before, trace = y.copy(), layer.trace
    assert not np.shares_memory(layer(z), layer(z))
    np.testing.assert_array_equal(y, before)
    assert layer.trace is trace
    assert layer.carried is None
    np.testing.assert_array_equal(layer.backward(dy), dx)


def test_gradients_stay_in_their_place(backend):
    layer = build("lstm", 3, 2, 2)
    gradients = layer.gradients()
    for N in (4, 2, 5):
        x, dy = draw(3, N, 3), draw(3, N, 2)
        fresh = build("lstm", 3, 2, 2)
        for one in (layer, fresh):
            one.forward(x, training=True)
        np.testing.assert_array_equal(layer.backward(dy), fresh.backward(dy))
        for name, g in layer.gradients().items():
            assert g is gradients[name]
            np.testing.assert_array_equal(g, fresh.gradients()[name])


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_are_apart_and_work(copier, backend):
    model = nn.Sequential(nn.LSTM(3, 2, 2, dropout=0.5, carry=True), nn.LastStep(), seed=0)
    x, y = draw(4, 5, 3), draw(5, 2)
    nn.train_step(model, nn.SquaredError(), nn.SGD(0.1), x, y)
    other = copier(model)
    loss = nn.train_step(model, nn.SquaredError(), nn.SGD(0.1), x, y)
    assert nn.train_step(other, nn.SquaredError(), nn.SGD(0.1), x, y) == loss
    for p, q in zip(model.parameters().values(), other.parameters().values(), strict=True):
        np.testing.assert_array_equal(p, q)
        assert not np.shares_memory(p, q)


# -- the carried state --


@pytest.mark.parametrize("kind", KINDS)
def test_a_carried_state_joins_pieces_to_one_sequence(kind, backend):
    whole, pieces = build(kind, 3, 2, 2), build(kind, 3, 2, 2, carry=True)
    x = draw(9, 4, 3)
    y = whole.forward(x, training=True)
    for start, stop in ((0, 4), (4, 5), (5, 9)):
        np.testing.assert_allclose(pieces.forward(x[start:stop], training=True), y[start:stop], rtol=1e-12)
    assert [a.shape for a in pieces.carried] == [(2, 4, 2)] * (2 if kind in ("lstm", "identity") else 1)
    np.testing.assert_array_equal(pieces.carried[0][-1], pieces.trace.h_last)
    pieces.reset_carried()
    assert pieces.carried is None
    np.testing.assert_array_equal(pieces.forward(x[:4], training=True), whole.forward(x[:4], training=True))


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_the_carried_state(kind, backend):
    layer, x = build(kind, 3, 2, 2, carry=True), draw(4, 3, 3)
    n = 2 if kind in ("lstm", "identity") else 1

    def f(*states):
        layer.carried = states
        return forward(layer, x)

    def backward(dy, *states):
        f(*states)
        layer.backward(dy)
        return layer.dcarried

    report = cf.gradcheck(f, backward, [0.5 * draw(2, 3, 2, seed=k) for k in range(n)])
    assert report, str(report)


def test_the_carried_state_is_a_copy_both_ways(backend):
    layer = build("lstm", 3, 2, carry=True)
    given = draw(1, 4, 2), draw(1, 4, 2, seed=1)
    layer.carried = given
    taken = layer.carried
    for a, b in zip(given, taken, strict=True):
        np.testing.assert_array_equal(a, b)
    for a in (*given, *taken):
        a[...] = np.nan
    assert np.isfinite(layer.forward(draw(2, 4, 3), training=True)).all()
    layer.carried = None
    assert layer.carried is None


def test_rows_of_several_lengths_carry_their_last_states(backend):
    layer, x = build("lstm", 3, 2, carry=True), draw(5, 3, 3)
    layer.forward(x, training=True, lengths=[5, 2, 0])
    h, c = layer.carried
    for n, length in ((0, 5), (1, 2)):
        alone = build("lstm", 3, 2, carry=True)
        alone.forward(x[:length, n : n + 1], training=True)
        np.testing.assert_allclose(h[:, n], alone.carried[0][:, 0], rtol=1e-12)
        np.testing.assert_allclose(c[:, n], alone.carried[1][:, 0], rtol=1e-12)
    assert not h[:, 2].any()


@pytest.mark.parametrize("kind", KINDS)
def test_step_by_step_is_the_whole_sequence(kind, backend):
    layer, x = build(kind, 3, 2, 2, dropout=0.5), draw(6, 4, 3)
    y = layer(x)
    for _ in range(2):
        for t in range(6):
            step = layer.step(x[t])
            np.testing.assert_allclose(step, y[t], rtol=1e-12)
            step[...] = np.nan  # it is not the state
        layer.reset_carried()


def test_a_stream_through_a_network(backend):
    model = nn.Sequential(
        nn.Embedding(5, 3),
        nn.LSTM(3, 4),
        nn.Sequential(nn.RNN(4, 2)),
        nn.Dropout(0.5),
        nn.Dense(2, 5),
        seed=0,
    )
    ids = np.random.default_rng(0).integers(0, 5, (7, 2))
    expected = model(ids)
    for _ in range(2):
        for t in range(7):
            np.testing.assert_allclose(model.step(ids[t]), expected[t], rtol=1e-5, atol=1e-6)
        model.reset_carried()


# -- starting values, names --


def test_initial_weights():
    D, H = 300, 200
    layer = nn.LSTM(D, H, seed=0)
    assert layer.parameters()["w_x"].std() == pytest.approx(np.sqrt(2 / (D + H)), rel=0.01)
    assert layer.parameters()["w_h"].std() == pytest.approx(np.sqrt(1 / H), rel=0.01)
    b = layer.parameters()["b"]
    np.testing.assert_array_equal(b, np.repeat([0, 1, 0, 0], H))
    assert not nn.LSTM(D, 3, forget_bias=0, seed=0).parameters()["b"].any()
    assert not nn.RNN(D, 3, seed=0).parameters()["b"].any()
    assert nn.RNN(D, H, init="he", seed=0).parameters()["w_h"].std() == pytest.approx(
        np.sqrt(2 / H), rel=0.01
    )
    a, b = (nn.RNN(3, 2, 2, seed=4).parameters() for _ in range(2))
    assert all(same_bits(a[name], b[name]) for name in a)
    assert not np.array_equal(a["0.w_h"], a["1.w_h"])


def test_reset_draws_anew_and_forgets():
    layer = nn.LSTM(3, 2, carry=True, seed=0)
    before = layer.parameters()["w_h"].copy()
    with cf.use_backend("reference"):
        layer.step(draw(1, 3))
    layer.reset(np.random.default_rng(1))
    assert not np.array_equal(layer.parameters()["w_h"], before)
    assert layer.carried is None


@pytest.mark.parametrize(
    ("layer", "names", "shown"),
    [
        (nn.RNN(3, 2), ["w_x", "w_h", "b"], "RNN(3, 2)"),
        (nn.LSTM(3, 2, bias=False, carry=True), ["w_x", "w_h"], "LSTM(3, 2, bias=False, carry=True)"),
        (
            nn.RNN(3, 2, nonlinearity="relu", bidirectional=True, dtype="float64"),
            ["w_x", "w_h", "b", "reverse.w_x", "reverse.w_h", "reverse.b"],
            "RNN(3, 2, bidirectional=True, nonlinearity='relu', dtype=float64)",
        ),
        (
            nn.LSTM(3, 2, 2, dropout=0.5, batch_first=True, cell_activation="identity", forget_bias=0.5),
            ["0.w_x", "0.w_h", "0.b", "1.w_x", "1.w_h", "1.b"],
            "LSTM(3, 2, num_layers=2, dropout=0.5, batch_first=True, cell_activation='identity', forget_bias=0.5)",
        ),
    ],
    ids=repr,
)
def test_names_and_repr(layer, names, shown):
    assert list(layer.parameters()) == list(layer.gradients()) == names
    assert [g.shape for g in layer.gradients().values()] == [p.shape for p in layer.parameters().values()]
    assert repr(layer) == repr(type(layer)(**layer.config())) == shown


def test_the_gates_of_a_small_lstm_as_a_table(backend):
    model = nn.LSTM(2, 1, seed=0)
    assert model.trace is None
    model.forward(draw(3, 2, 2), training=True)
    lines = model.trace.table(row=1).splitlines()
    assert all(name in lines[0] for name in ("z_i", "z_f", "z_o", "z_g", "c", "y"))
    assert f"{model.trace.h[2, 1, 0]:.3f}"[-3:] in lines[-1]


# -- mistakes --


@pytest.mark.parametrize("layer", [nn.RNN(3, 2), nn.LSTM(3, 2, 2, bidirectional=True)], ids=repr)
def test_backward_before_forward(layer, backend):
    layer = type(layer)(**layer.config())
    layer.forward(draw(2, 1, 3))  # inference does not count
    with pytest.raises(RuntimeError, match=r"backward needs a forward\(x, training=True\)"):
        layer.backward(draw(2, 1, 2))
    with pytest.raises(RuntimeError, match="dcarried needs a backward"):
        _ = layer.dcarried


@pytest.mark.parametrize(
    ("options", "use", "error", "message"),
    [
        (
            {},
            lambda layer: layer(draw(4, 2, 4)),
            ValueError,
            r"x: expected shape \(T, N, 3\).*RNN\(3, 2\); got",
        ),
        ({}, lambda layer: layer(draw(4, 3)), ValueError, r"x: expected shape \(T, N, 3\)"),
        (
            {"batch_first": True},
            lambda layer: layer(draw(4, 3)),
            ValueError,
            r"x: expected shape \(N, T, 3\)",
        ),
        (
            {},
            lambda layer: layer.forward(draw(4, 2, 3), lengths=[1]),
            ValueError,
            r"lengths: expected shape \(2,\)",
        ),
        ({}, lambda layer: layer.forward(draw(4, 1, 3), lengths=[5]), ValueError, r"lengths: .* \[0, 4\]"),
        ({}, lambda layer: layer.step(draw(4, 2)), ValueError, r"x: expected shape \(N, 3\), one step"),
        (
            {"bidirectional": True},
            lambda layer: layer.step(draw(4, 3)),
            ValueError,
            "x: expected a whole sequence",
        ),
        (
            {},
            lambda layer: setattr(layer, "carried", draw(1, 3, 2)[:0]),
            ValueError,
            "carried: expected 1 array",
        ),
        (
            {},
            lambda layer: setattr(layer, "carried", (draw(2, 3, 2),)),
            ValueError,
            r"carried: expected arrays of shape \(1, N, 2\); got \(2, 3, 2\)",
        ),
    ],
)
def test_errors_of_use(options, use, error, message, backend):
    with pytest.raises(error, match=message):
        use(nn.RNN(3, 2, **options))


def test_dy_of_the_wrong_shape(backend):
    layer = nn.LSTM(3, 2, bidirectional=True, batch_first=True)
    layer.forward(draw(4, 5, 3), training=True)
    with pytest.raises(ValueError, match=r"dy: expected shape \(4, 5, 4\), that of y; got \(5, 4, 4\)"):
        layer.backward(draw(5, 4, 4))


def test_another_number_of_rows_than_carried(backend):
    layer = nn.LSTM(3, 2, carry=True)
    layer.forward(draw(2, 5, 3), training=True)
    for call in (lambda: layer.forward(draw(2, 4, 3), training=True), lambda: layer.step(draw(4, 3))):
        with pytest.raises(ValueError, match=r"x: expected 5 rows.*reset_carried\(\).*got 4"):
            call()
    layer.forward(draw(2, 4, 3))  # inference starts anew


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.RNN(0, 2), ValueError, "input_size: expected an integer >= 1; got 0"),
        (lambda: nn.LSTM(3, 2.0), TypeError, "hidden_size: expected an integer"),
        (lambda: nn.LSTM(3, 2, 0), ValueError, "num_layers: expected an integer >= 1"),
        (lambda: nn.RNN(3, 2, nonlinearity="gelu"), ValueError, "nonlinearity: expected one of"),
        (lambda: nn.LSTM(3, 2, cell_activation="relu"), ValueError, "cell_activation: expected one of"),
        (lambda: nn.LSTM(3, 2, dropout=1.5), ValueError, "dropout: expected"),
        (lambda: nn.LSTM(3, 2, bias=None), TypeError, "bias: expected True or False"),
        (lambda: nn.LSTM(3, 2, carry=True, bidirectional=True), ValueError, "carry: expected False"),
        (lambda: nn.LSTM(3, 2, init="zero"), ValueError, "init: expected one of"),
        (lambda: nn.LSTM(3, 2, dtype="float16"), TypeError, "dtype: expected float32 or float64"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


# -- learning --


def test_which_symbol_came_first(backend):
    """Ids of 5 to 12 steps, whose class is the first: it must be remembered over all that follow."""
    rng = np.random.default_rng(0)
    ids, lengths = rng.integers(0, 4, (400, 12)), rng.integers(5, 13, 400)
    model = nn.Sequential(
        nn.Embedding(4, 8),
        nn.LSTM(8, 16, batch_first=True),
        nn.LastStep(batch_first=True),
        nn.Dense(16, 4),
        seed=0,
    )
    loss, optimizer, y = nn.CrossEntropy(), nn.Adam(lr=0.01), ids[:, 0]
    for step in range(150):
        rows = slice(40 * (step % 5), 40 * (step % 5 + 1))
        nn.train_step(model, loss, optimizer, ids[rows], y[rows], clip=1.0, lengths=lengths[rows])
    right, counted = loss.hits(model(ids[200:], lengths=lengths[200:]), y[200:])
    assert right / counted > 0.95
