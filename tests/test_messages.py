"""Which argument an error names, and what it refuses: overlapping memory, sizes that no array has."""

import numpy as np
import pytest

import closedform as cf
from test_junk import HUGE, P, X, right, stride_zero

IMAGES = np.zeros((2, 5, 6, 3))
WRONG = [
    ("dense", {"x": np.zeros((3, 5))}, ValueError, "w"),
    ("dense", {"b": np.zeros(5)}, ValueError, "b"),
    ("dense", {"x": np.float64(1)}, ValueError, "x"),
    ("dense", {"w": np.zeros(4)}, ValueError, "w"),
    ("dense", {"x": X.astype(np.float16)}, TypeError, "x"),
    ("dense", {"w": X.T.astype(complex)}, TypeError, "w"),
    ("dense", {"b": np.zeros(3, np.longdouble)}, TypeError, "b"),
    ("dense", {"x": [[1, 2], [3]]}, ValueError, "x"),
    ("dense", {"out": np.zeros((3, 4))}, ValueError, "out"),
    ("dense", {"out": np.zeros((3, 3), np.float32)}, TypeError, "out"),
    ("dense", {"out": [[0.0] * 3] * 3}, TypeError, "out"),
    ("dense", {"out": stride_zero(3, 3, dtype=np.float64)}, ValueError, "out"),
    ("dense", {"out": np.zeros((3, 3), ">f8")}, TypeError, "out"),
    ("dense_backward", {"dy": np.ones((3, 4))}, ValueError, "dy"),
    ("dense_backward", {"dy": np.float64(1)}, ValueError, "dy"),
    ("dense_backward", {"needs": "x"}, ValueError, "needs"),
    ("dense_backward", {"needs": ("x", "y")}, ValueError, "needs"),
    ("dense_backward", {"needs": 5}, ValueError, "needs"),
    ("dense_backward", {"needs": [[]]}, ValueError, "needs"),
    ("dense_backward", {"out": np.zeros((3, 4))}, TypeError, "out"),
    ("dense_backward", {"out": (None, np.zeros((3, 4)), None)}, ValueError, "out dw"),
    ("conv2d", {"x": np.zeros((4, 5, 2))}, ValueError, "x"),
    ("conv2d", {"x": np.zeros((2, 1, 5, 2)), "padding": 0}, ValueError, "x"),
    ("conv2d", {"x": stride_zero(1, 2**31, 3, 2, dtype=np.float64)}, ValueError, "x"),
    ("conv2d", {"w": np.zeros((3, 3, 2, 4))}, ValueError, "w"),
    ("conv2d", {"w": np.zeros((3, 0, 1, 4))}, ValueError, "w"),
    ("conv2d", {"b": np.zeros(3)}, ValueError, "b"),
    ("conv2d", {"stride": 0}, ValueError, "stride"),
    ("conv2d", {"stride": (1, 2, 3)}, ValueError, "stride"),
    ("conv2d", {"stride": 2.0}, TypeError, "stride"),
    ("conv2d", {"dilation": "2"}, TypeError, "dilation"),
    ("conv2d", {"dilation": 2**31}, ValueError, "dilation"),
    ("conv2d", {"padding": -1}, ValueError, "padding"),
    ("conv2d", {"padding": ((1, 1), 1.5)}, TypeError, "padding"),
    ("conv2d", {"padding": ((1, 1), (1, 1), (1, 1))}, ValueError, "padding"),
    ("conv2d", {"padding": ((1, 2), 3)}, TypeError, "padding"),
    ("conv2d", {"padding": (3, (1, 2))}, TypeError, "padding"),
    ("conv2d", {"padding": "SAME"}, ValueError, "padding"),
    ("conv2d", {"padding": "same", "stride": (1, 2)}, ValueError, "padding"),
    ("conv2d", {"groups": 3}, ValueError, "groups"),
    ("conv2d", {"groups": None}, TypeError, "groups"),
    ("conv2d", {"activation": "gelu"}, ValueError, "activation"),
    ("conv2d", {"activation": True}, ValueError, "activation"),
    ("conv2d", {"algorithm": "winograd"}, ValueError, "algorithm"),
    ("conv2d", {"algorithm": "winograd2"}, ValueError, "algorithm"),
    ("conv2d", {"algorithm": None}, ValueError, "algorithm"),
    ("conv2d_backward", {"dy": np.zeros((2, 4, 5, 2))}, ValueError, "dy"),
    ("conv2d_backward", {"needs": "x"}, ValueError, "needs"),
    ("conv2d_backward", {"out": np.zeros((2, 4, 5, 2))}, TypeError, "out"),
    ("conv2d_backward", {"out": (None, np.zeros((3, 3, 4)), None)}, ValueError, "out dw"),
    ("batchnorm", {"x": np.zeros((3, 5))}, ValueError, "gamma"),
    ("batchnorm", {"beta": np.zeros((1, 4))}, ValueError, "beta"),
    ("batchnorm", {"eps": -1e-9}, ValueError, "eps"),
    ("batchnorm_backward", {"dy": np.ones((4, 3))}, ValueError, "dy"),
    ("batchnorm_backward", {"trace": X}, TypeError, "trace"),
    ("batchnorm_backward", {"out": (None, np.zeros(3), None)}, ValueError, "out dgamma"),
    ("batchnorm_inference", {"var": np.ones(5)}, ValueError, "var"),
    ("max_pool2d", {"x": X}, ValueError, "x"),
    ("max_pool2d", {"x": stride_zero(1, 2**16, 2**15, 1), "size": 2}, ValueError, "x"),
    ("max_pool2d", {"size": (3, 0)}, ValueError, "size"),
    ("max_pool2d", {"stride": (2, 2, 2)}, ValueError, "stride"),
    ("max_pool2d", {"padding": 3}, ValueError, "padding"),
    ("max_pool2d", {"padding": "same"}, ValueError, "padding"),
    ("max_pool2d", {"size": 9, "stride": 1}, ValueError, "x"),
    ("max_pool2d", {"x": IMAGES, "size": (6, 2), "stride": 3, "padding": 0}, ValueError, "x"),
    ("max_pool2d", {"x": IMAGES, "size": (2, 9), "stride": 3, "padding": (0, 1)}, ValueError, "x"),
    ("avg_pool2d", {"x": IMAGES, "size": (2, 9), "stride": 3, "padding": (0, 1)}, ValueError, "x"),
    ("max_pool2d_backward", {"trace": (X, X, (3, 4))}, TypeError, "trace"),
    ("max_pool2d_backward", {"dy": np.ones((2, 3, 2, 2))}, ValueError, "dy"),
    ("avg_pool2d_backward", {"x_shape": (2, 4, 6)}, ValueError, "x_shape"),
    ("avg_pool2d_backward", {"x_shape": (2, 5, 6, 2)}, ValueError, "dy"),
    ("relu", {"slope": "3"}, TypeError, "slope"),
    ("relu", {"slope": np.array([1.0])}, TypeError, "slope"),
    ("relu", {"negative_slope": float("nan")}, ValueError, "negative_slope"),
    ("relu", {"slope": 10**400}, ValueError, "slope"),
    ("relu_backward", {"dy": np.ones((4, 3))}, ValueError, "dy"),
    ("softmax", {"axis": 2}, ValueError, "axis"),
    ("softmax", {"axis": -3}, ValueError, "axis"),
    ("softmax", {"axis": 1.0}, TypeError, "axis"),
    ("softmax", {"axis": None}, TypeError, "axis"),
    ("softmax", {"axis": True}, TypeError, "axis"),
    ("softmax", {"axis": (0, 1)}, TypeError, "axis"),
    ("softmax", {"axis": np.array([0, 1])}, TypeError, "axis"),
    ("softmax", {"temperature": 0}, ValueError, "temperature"),
    ("softmax", {"temperature": -1.0}, ValueError, "temperature"),
    ("softmax", {"temperature": float("inf")}, ValueError, "temperature"),
    ("softmax", {"temperature": 1j}, TypeError, "temperature"),
    ("binary_cross_entropy", {"y_hat": P + 0.5}, ValueError, "y_hat"),
    ("binary_cross_entropy", {"y": P - 0.5}, ValueError, "y"),
    ("squared_error", {"reduction": "max"}, ValueError, "reduction"),
    ("squared_error", {"reduction": None}, ValueError, "reduction"),
    ("cross_entropy", {"target": np.array([0, 4, 1])}, ValueError, "target"),
    ("cross_entropy", {"target": np.array([0, -1, 1])}, ValueError, "target"),
    ("cross_entropy", {"target": np.array([0.0, 1.0, 2.0])}, TypeError, "target"),
    ("cross_entropy", {"target": np.array([0, 1])}, ValueError, "target"),
    ("cross_entropy", {"target": np.zeros((3, 5))}, ValueError, "target"),
    ("cross_entropy", {"logits": np.zeros(4)}, ValueError, "logits"),
    ("cross_entropy", {"logits": np.zeros((3, 0))}, ValueError, "logits"),
    ("cross_entropy", {"weight": np.ones(3)}, ValueError, "weight"),
    ("cross_entropy", {"weight": np.ones((4, 1))}, ValueError, "weight"),
    ("cross_entropy", {"label_smoothing": 1.5}, ValueError, "label_smoothing"),
    ("cross_entropy", {"ignore_index": 1.0}, TypeError, "ignore_index"),
    ("cross_entropy", {"ignore_index": 2**63}, ValueError, "ignore_index"),
    ("cross_entropy", {"target": P}, ValueError, "ignore_index"),
    ("rnn", {"x": X}, ValueError, "x"),
    ("rnn", {"w_h": np.ones((2, 3))}, ValueError, "w_h"),
    ("rnn", {"w_x": np.ones((4, 3))}, ValueError, "w_x"),
    ("rnn", {"nonlinearity": "sigmoid"}, ValueError, "nonlinearity"),
    ("rnn", {"lengths": [1, 2, 3]}, ValueError, "lengths"),
    ("rnn", {"lengths": [1.0, 2.0, 2.0]}, TypeError, "lengths"),
    ("rnn", {"reverse": 1}, TypeError, "reverse"),
    ("rnn", {"h0": np.ones((2, 3))}, ValueError, "h0"),
    ("rnn_backward", {"dh": np.ones((3, 2, 2))}, ValueError, "dh"),
    ("rnn_backward", {"trace": X}, TypeError, "trace"),
    ("rnn_backward", {"out": (None, np.zeros((4, 3)), None, None, None)}, ValueError, "out dw_x"),
    ("rnn_step", {"h": np.ones((2, 2))}, ValueError, "h"),
    ("lstm", {"w_h": np.ones((2, 2))}, ValueError, "w_h"),
    ("lstm", {"b": np.ones(2)}, ValueError, "b"),
    ("lstm", {"c0": np.ones(3)}, ValueError, "c0"),
    ("lstm", {"cell_activation": "relu"}, ValueError, "cell_activation"),
    ("lstm_backward", {"dc_last": np.ones((2, 3))}, ValueError, "dc_last"),
    ("lstm_backward", {"out": (None, None)}, TypeError, "out"),
    ("lstm_step", {"c": np.ones((3, 2), complex)}, TypeError, "c"),
    ("lstm_step", {"x": np.ones(4)}, ValueError, "x"),
    ("sgd_update", {"parameter": X.tolist()}, TypeError, "parameter"),
    ("sgd_update", {"parameter": np.zeros((3, 4), int)}, TypeError, "parameter"),
    ("sgd_update", {"parameter": stride_zero(3, 4, dtype=np.float64)}, ValueError, "parameter"),
    ("sgd_update", {"velocity": None}, ValueError, "velocity"),
    ("sgd_update", {"velocity": np.zeros((3, 4), np.float32)}, TypeError, "velocity"),
    ("sgd_update", {"nesterov": "yes"}, TypeError, "nesterov"),
    ("adam_update", {"step": 0}, ValueError, "step"),
    ("adam_update", {"step": 1.5}, TypeError, "step"),
    ("adam_update", {"step": "1"}, TypeError, "step"),
    ("adam_update", {"beta1": 1.0}, ValueError, "beta1"),
    ("adam_update", {"beta2": -0.1}, ValueError, "beta2"),
    ("adam_update", {"m": np.zeros((4, 3))}, ValueError, "m"),
]


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize(("name", "wrong", "error", "argument"), WRONG)
def test_messages_begin_with_the_argument(name, wrong, error, argument, backend):
    with cf.use_backend(backend), pytest.raises(error, match=rf"^{argument}: expected .*(; got |, since )"):
        getattr(cf, name)(**right(name) | wrong)


def test_overlap_is_refused():
    memory = np.zeros(30)
    x, w = memory[:12].reshape(3, 4), np.zeros((4, 4))
    for out in (x, x[::-1], memory[1:13].reshape(3, 4), memory[11:23].reshape(3, 4)):
        for call in (
            lambda out=out: cf.relu(x, out=out),
            lambda out=out: cf.softmax(x, out=out),
            lambda out=out: cf.dense(x, w, out=out),
            lambda out=out: cf.cross_entropy_backward(x, [0, 1, 2], out=out),
            lambda out=out: cf.gelu_backward(np.zeros((3, 4)), x, out=out),
        ):
            with pytest.raises(ValueError, match=r"^out: expected memory of its own"):
                call()
    out = memory[12:24].reshape(3, 4)
    assert cf.relu(x, out=out) is out
    interleaved = np.zeros((3, 8))  # the same stretch of memory, but no byte in common
    assert np.all(cf.relu(interleaved[:, ::2], out=interleaved[:, 1::2]) == 0)
    p = np.zeros(4)
    for state in ({"m": p, "v": np.zeros(4)}, {"m": (s := np.zeros(4)), "v": s}):
        with pytest.raises(ValueError, match="expected memory of its own"):
            cf.adam_update(p, np.ones(4), lr=0.1, step=1, **state)
    with pytest.raises(ValueError, match="expected memory of its own"):
        cf.sgd_update(p, p, None, lr=0.1)


def test_sizes_that_overflow():
    wide, narrow = np.zeros((2**60, 0), np.float32), np.zeros((0, 8), np.float32)
    for call in (
        lambda: cf.dense(wide, narrow),
        lambda: cf.softmax_jacobian(stride_zero(2**40)),
        lambda: cf.softmax_jacobian(stride_zero(2**20, 2**21)),
        lambda: cf.conv2d(np.zeros((2**40, 4, 4, 0)), np.zeros((1, 1, 0, 2**20))),
    ):
        with pytest.raises(ValueError, match="shape"):
            call()
    with pytest.raises(MemoryError):
        cf.dense(np.zeros((2**57, 0), np.float32), np.zeros((0, 4), np.float32))
    for op in (cf.relu, cf.softmax, cf.logsumexp):
        with pytest.raises(MemoryError):
            op(stride_zero(HUGE))
    with pytest.raises(MemoryError):
        cf.conv2d(np.zeros((1, 3, 3, 1)), np.zeros((1, 1, 1, 1)), padding=2**28)
    # Very many rows of nothing are still nothing.
    nothing = np.zeros((2**57, 0), np.float32)
    for op in (cf.relu, cf.softmax, cf.log_softmax, cf.softmax_jacobian):
        assert op(nothing).size == 0
    assert cf.dense(nothing, np.zeros((0, 0), np.float32)).shape == (2**57, 0)
    dx, dw, db = cf.dense_backward(nothing, nothing, np.zeros((0, 0), np.float32))
    assert (dx.shape, dw.shape, db.shape) == ((2**57, 0), (0, 0), (0,))
