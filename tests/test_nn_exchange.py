"""Weights by PyTorch's names and in its layouts."""

import numpy as np
import pytest

import closedform as cf
from closedform import nn
from conftest import GOLDEN

SIZES = {"input_size": 3, "hidden_size": 2}
OPTIONS = [
    {},
    {"bias": False},
    {"bidirectional": True},
    {"num_layers": 3},
    {"num_layers": 2, "bidirectional": True, "dtype": "float64"},
]


def build(kind, seed=0, **options):
    layer = kind(**SIZES, **options, seed=0)
    for p in layer.parameters().values():
        p[...] = np.random.default_rng([seed, p.size]).standard_normal(p.shape)
    return layer


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM])
def test_there_and_back(kind, options):
    layer = build(kind, **options)
    state = layer.to_torch_state()
    again = kind.from_torch_state(state)
    assert again.config() == layer.config()
    for p, q in zip(layer.parameters().values(), again.parameters().values(), strict=True):
        np.testing.assert_array_equal(p, q)
        assert not any(np.shares_memory(q, a) for a in state.values())
    assert list(state) == list(again.to_torch_state())


def test_names_layouts_and_the_two_biases():
    layer = build(nn.LSTM, num_layers=2, bidirectional=True)
    state = layer.to_torch_state()
    assert list(state)[:8] == [
        *("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"),
        *("weight_ih_l0_reverse", "weight_hh_l0_reverse", "bias_ih_l0_reverse", "bias_hh_l0_reverse"),
    ]
    p = layer.parameters()
    np.testing.assert_array_equal(state["weight_ih_l1_reverse"], p["1.reverse.w_x"].T)
    np.testing.assert_array_equal(state["weight_hh_l1"], p["1.w_h"].T)
    assert not state["bias_hh_l1"].any()
    assert all(a.flags.c_contiguous for a in state.values())
    state["bias_hh_l1"] = np.full(8, 0.5, np.float32)
    changed = nn.LSTM.from_torch_state(state, batch_first=True, dropout=0.5)
    np.testing.assert_array_equal(changed.parameters()["1.b"], p["1.b"] + np.float32(0.5))
    assert (changed.batch_first, changed.dropout) == (True, 0.5)


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("name", ["rnn", "lstm"])
def test_numbers_of_pytorch(name, backend):
    """Outputs and gradients that torch computed in float64, from h_0 and c_0 that are not 0."""
    kind = {"rnn": nn.RNN, "lstm": nn.LSTM}[name]
    with np.load(GOLDEN / f"{name}.npz") as file:
        golden = dict(file)
    cases = sorted({key.split("/")[0] for key in golden})
    assert cases
    for case in cases:
        d = {key.partition("/")[2]: a for key, a in golden.items() if key.startswith(f"{case}/")}
        state = {"weight_ih_l0": d["w_x"].T, "weight_hh_l0": d["w_h"].T}
        first = np.linspace(-1, 1, d["b"].size)
        state |= {"bias_ih_l0": first, "bias_hh_l0": d["b"] - first}
        layer = kind.from_torch_state(state, carry=True)
        layer.carried = [d[s][np.newaxis] for s in ("h0", "c0") if s in d]
        with cf.use_backend(backend):
            np.testing.assert_allclose(
                layer.forward(d["x"], training=True), d["out.h"], rtol=1e-9, atol=1e-12
            )
        if "c0" in d:
            np.testing.assert_allclose(layer.carried[1][0], d["out.c_last"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM])
def test_against_torch(kind, options):
    torch = pytest.importorskip("torch")
    layer = build(kind, **options | {"dtype": "float64"})
    theirs = getattr(torch.nn, kind.__name__)(
        3, 2, **{k: v for k, v in options.items() if k != "dtype"}
    ).double()
    theirs.load_state_dict({name: torch.from_numpy(a) for name, a in layer.to_torch_state().items()})
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 4, 3))
    expected, _ = theirs(given := torch.tensor(x, requires_grad=True))
    dy = rng.standard_normal(expected.shape)
    expected.backward(torch.from_numpy(dy))
    back = kind.from_torch_state({name: p.detach().numpy() for name, p in theirs.state_dict().items()})
    with cf.use_backend("reference"):
        y = back.forward(x, training=True)
        dx = back.backward(dy)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(dx, given.grad.numpy(), rtol=1e-10, atol=1e-13)
    gradients = [g.grad.numpy() for name, g in theirs.named_parameters() if "bias_hh" not in name]
    for got, want in zip(back.gradients().values(), gradients, strict=True):
        np.testing.assert_allclose(got.T, want, rtol=1e-10, atol=1e-12)


STATE = {
    "weight_ih_l0": np.ones((8, 3)),
    "weight_hh_l0": np.ones((8, 2)),
    "bias_ih_l0": np.ones(8),
    "bias_hh_l0": np.ones(8),
}


def changed(**arrays):
    return {name: a for name, a in (STATE | arrays).items() if a is not None}


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({}, ValueError, "state: expected the names"),
        (changed(bias_hh_l0=None), ValueError, r"state: expected the names \[.*'bias_hh_l0'.*got"),
        (changed(weight_hr_l0=np.ones((1, 2))), ValueError, "state: expected the names"),
        (changed(weight_ih_l99999999999=np.ones((8, 2))), ValueError, "state: expected the names"),
        (changed(weight_ih_l0_reverse=np.ones((8, 3))), ValueError, "state: expected the names"),
        (changed(weight_ih_l0=np.ones(8)), ValueError, "weight_ih_l0: expected a matrix"),
        (
            changed(weight_hh_l0=np.ones((2, 2))),
            ValueError,
            r"weight_hh_l0: expected shape \(8, 2\), .*4 gates",
        ),
        (changed(weight_hh_l0=np.float64(1)), ValueError, "weight_hh_l0: expected a matrix"),
        (changed(bias_hh_l0=np.ones(2)), ValueError, r"bias_hh_l0: expected shape \(8,\)"),
        (changed(bias_ih_l0=np.ones(8, complex)), TypeError, "bias_ih_l0: expected float32"),
    ],
)
def test_other_states(state, error, message):
    with pytest.raises(error, match=message):
        nn.LSTM.from_torch_state(state)


def test_an_rnn_is_no_lstm():
    with pytest.raises(
        ValueError, match=r"weight_ih_l0: expected shape \(8, 3\), that of 4 gates of 2 units"
    ):
        nn.LSTM.from_torch_state(build(nn.RNN).to_torch_state())
