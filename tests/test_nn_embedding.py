"""Embedding and LastStep, and the cross-entropy of every step of sequences."""

import copy

import numpy as np
import pytest

import closedform as cf
from closedform import nn
from conftest import same_bits

IDS = np.array([[3, 0, 3], [1, 3, 0]])


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


# -- Embedding --


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("ids", [IDS, IDS.T[::-1], IDS.astype(np.uint8), 2, [[0, 1]], np.zeros((2, 0), int)])
def test_embedding_takes_rows(ids, training):
    layer = nn.Embedding(4, 5, dtype="float64", seed=0)
    y = layer.forward(ids, training)
    np.testing.assert_array_equal(y, layer.w[np.asarray(ids)])
    assert y.shape == (*np.shape(ids), 5)
    assert not np.shares_memory(y, layer.w)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_met_several_times_add_up(dtype):
    layer = nn.Embedding(5, 3, dtype=dtype, seed=0)
    dy = draw(*IDS.shape, 3)
    layer.dw[...] = np.nan  # overwritten, also where no id was
    layer.forward(IDS, training=True)
    dx = layer.backward(dy)
    expected = np.zeros((5, 3))
    for place, v in np.ndenumerate(IDS):
        expected[v] += dy[place]
    np.testing.assert_allclose(layer.dw, expected, rtol=1e-6)
    assert not layer.dw[[2, 4]].any()
    assert dx.shape == IDS.shape
    assert not dx.any()


def test_gradient_of_the_table():
    layer = nn.Embedding(4, 3, dtype="float64", seed=0)

    def f(w):
        layer.w[...] = w
        return layer.forward(IDS, training=True).copy()

    def backward(dy, w):
        f(w)
        layer.backward(dy)
        return [layer.dw]

    report = cf.gradcheck(f, backward, [draw(4, 3)])
    assert report, str(report)


def test_equal_ids_are_added_in_the_order_of_their_places():
    ids = np.random.default_rng(0).integers(0, 3, 1000)
    dy = (draw(1000, 4) * 10.0 ** draw(1000, 1)).astype(np.float32)
    layer = nn.Embedding(3, 4, seed=0)
    layer.forward(ids, training=True)
    layer.backward_parameters(dy)
    for v in range(3):
        assert same_bits(layer.dw[v], np.add.reduceat(dy[ids == v], [0])[0])


def test_smaller_and_larger_batches():
    layer = nn.Embedding(6, 3, seed=0)
    for n in (4, 2, 7, 0, 1):
        ids, dy = np.arange(n) % 5, draw(n, 3).astype(np.float32)
        np.testing.assert_array_equal(layer.forward(ids, training=True), layer(ids))
        layer.backward(dy)
        expected = np.zeros((6, 3))
        np.add.at(expected, ids, dy)
        np.testing.assert_allclose(layer.dw, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([0, 4], ValueError, r"x: expected ids in \[0, 4\), the rows of Embedding\(4, 3\); got 4"),
        ([0, -1], ValueError, r"x: expected ids in \[0, 4\).*got -1"),
        ([0.0, 1.0], TypeError, "x: expected integer"),
        (["a"], TypeError, "x: expected integer"),
        ([True], TypeError, "x: expected integer"),
    ],
)
def test_ids_without_a_row(ids, error, message):
    with pytest.raises(error, match=message):
        nn.Embedding(4, 3)(ids)


# -- LastStep --


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [None, [4, 1, 0]])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_last_step(bidirectional, lengths, batch_first):
    T, N, H = 4, 3, 6
    x, dy = draw(T, N, H), draw(N, H, seed=1)
    layer = nn.LastStep(batch_first=batch_first, bidirectional=bidirectional)
    given = x.swapaxes(0, 1) if batch_first else x
    y = layer.forward(given, training=True, lengths=lengths)
    dx = layer.backward(dy)
    dx = dx.swapaxes(0, 1) if batch_first else dx
    expected, dexpected = np.zeros((N, H)), np.zeros((T, N, H))
    for n, length in enumerate(lengths or [T] * N):
        for feature in range(H) if length else ():
            t = 0 if bidirectional and feature >= H // 2 else length - 1
            expected[n, feature] = x[t, n, feature]
            dexpected[t, n, feature] = dy[n, feature]
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(dx, dexpected)
    np.testing.assert_array_equal(layer.forward(given, lengths=lengths), expected)


def test_last_step_of_a_stream_is_the_present_one():
    x = draw(2, 3)
    np.testing.assert_array_equal(nn.LastStep().step(x), x)


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        (draw(3, 2), {}, ValueError, r"x: expected shape \(T, N, H\); got \(3, 2\)"),
        (np.zeros((0, 2, 3)), {}, ValueError, "x: expected at least one step"),
        (draw(3, 2, 1), {"lengths": [1]}, ValueError, r"lengths: expected shape \(2,\)"),
        (draw(3, 2, 1), {"lengths": [1, 4]}, ValueError, r"lengths: expected integers in \[0, 3\]"),
        (draw(3, 2, 1), {"lengths": [1, -1]}, ValueError, r"lengths: expected integers in \[0, 3\]"),
        (draw(3, 2, 1), {"lengths": [1.0, 2.0]}, TypeError, "lengths: expected integers"),
    ],
)
def test_last_step_of_what_has_none(x, options, error, message):
    with pytest.raises(error, match=message):
        nn.LastStep().forward(x, **options)


def test_no_steps_but_lengths_of_zero():
    assert not nn.LastStep().forward(np.zeros((0, 2, 3)), lengths=[0, 0]).any()


# -- both --


@pytest.mark.parametrize("layer", [nn.Embedding(4, 3), nn.LastStep()], ids=repr)
def test_backward_before_forward_and_of_the_wrong_shape(layer):
    layer = copy.deepcopy(layer)
    x = IDS if isinstance(layer, nn.Embedding) else draw(2, 3, 3)
    layer.forward(x)  # inference does not count
    with pytest.raises(RuntimeError, match=r"backward needs a forward\(x, training=True\)"):
        layer.backward(draw(2, 3, 3))
    layer.forward(x, training=True)
    with pytest.raises(ValueError, match=r"dy: expected shape .*; got \(5, 3\)"):
        layer.backward(draw(5, 3))


# -- cross-entropy of sequences --


@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
@pytest.mark.parametrize("soft", [False, True])
def test_cross_entropy_of_every_step(soft, reduction):
    T, N, K = 4, 3, 5
    logits = draw(T, N, K)
    y = np.abs(draw(T, N, K, seed=1)) if soft else np.random.default_rng(0).integers(0, K, (T, N))
    loss = nn.CrossEntropy(label_smoothing=0.1, reduction=reduction)
    value, gradient = loss.with_grad(logits, y)
    flat = y.reshape(T * N, -1) if soft else y.reshape(T * N)
    expected, dexpected = nn.CrossEntropy(label_smoothing=0.1, reduction=reduction).with_grad(
        logits.reshape(T * N, K), flat
    )
    np.testing.assert_array_equal(value, np.reshape(expected, (T, N)) if reduction == "none" else expected)
    np.testing.assert_array_equal(gradient, dexpected.reshape(T, N, K))
    np.testing.assert_array_equal(loss(logits, y), value)
    assert loss.hits(logits, y) == loss.hits(logits.reshape(T * N, K), flat)


def test_targets_of_other_sequences():
    with pytest.raises(
        ValueError, match=r"y: expected class indices \(4, 3\) or .*\(4, 3, 5\).*got \(3, 4\)"
    ):
        nn.CrossEntropy()(draw(4, 3, 5), np.zeros((3, 4), int))
