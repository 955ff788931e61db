"""Junk at every op and every option: an error that names the argument, never a crash, never a hang."""

import datetime
import decimal
import inspect
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import closedform as cf
from conftest import run_python

X = np.linspace(-1, 1, 12).reshape(3, 4)
P = np.linspace(0.1, 0.9, 12).reshape(3, 4)
IMAGES, FILTERS = np.linspace(-1, 1, 80).reshape(2, 4, 5, 2), np.linspace(-1, 1, 36).reshape(3, 3, 1, 4)
PIXELS = np.linspace(-1, 1, 96).reshape(2, 4, 6, 2)

SEQUENCE = {
    "rnn": (
        np.linspace(-1, 1, 24).reshape(2, 3, 4),
        np.ones((4, 2)),
        np.ones((2, 2)),
        np.ones(2),
        np.ones((3, 2)),
    ),
    "lstm": (
        np.linspace(-1, 1, 24).reshape(2, 3, 4),
        np.ones((4, 8)),
        np.ones((2, 8)),
        np.ones(8),
        *np.ones((2, 3, 2)),
    ),
}
MIXTURE = {"weights": np.array([0.25, 0.75]), "means": X[:2]}


def stride_zero(*shape, dtype=np.float32):
    return np.broadcast_to(dtype(0.5), shape)


LOSSES = [
    ("squared_error", "y_hat"),
    ("binary_cross_entropy", "y_hat"),
    ("binary_cross_entropy_with_logits", "z"),
]

# Every op with arguments that are right.
OPS = {
    "dense": {"x": X, "w": X.T.copy(), "b": np.ones(3), "out": None},
    "dense_backward": {"dy": np.ones((3, 3)), "x": X, "w": X.T.copy(), "needs": ("x", "w", "b"), "out": None},
    "conv2d": {
        "x": IMAGES, "w": FILTERS, "b": np.ones(4), "stride": 1, "padding": 1, "dilation": 1, "groups": 2,
        "activation": "relu", "algorithm": "auto", "out": None,
    },
    "conv2d_backward": {
        "dy": np.ones((2, 4, 5, 4)), "x": IMAGES, "w": FILTERS, "stride": 1, "padding": 1, "dilation": 1, "groups": 2,
        "needs": ("x", "w", "b"), "algorithm": "auto", "out": None,
    },
    "relu": {"x": X, "slope": 1.0, "negative_slope": 0.1, "out": None},
    "relu_backward": {"dy": X, "x": X, "slope": 1.0, "negative_slope": 0.1, "out": None},
    **{name: {"x": X, "out": None} for name in ("sigmoid", "tanh", "softplus", "gelu")},
    **{f"{name}_backward": {"dy": X, "y": X, "out": None} for name in ("sigmoid", "tanh")},
    **{f"{name}_backward": {"dy": X, "x": X, "out": None} for name in ("softplus", "gelu")},
    "softmax": {"x": X, "axis": -1, "temperature": 1.0, "out": None},
    "softmax_backward": {"dy": X, "y": P, "axis": -1, "temperature": 1.0, "out": None},
    "log_softmax": {"x": X, "axis": 0, "out": None},
    "log_softmax_backward": {"dy": X, "y": X, "axis": 0, "out": None},
    "logsumexp": {"x": X, "axis": 1, "out": None},
    "softmax_jacobian": {"y": P, "out": None},
    **{name: {arg: P, "y": P, "reduction": "sum"} for name, arg in LOSSES},
    **{f"{name}_backward": {arg: P, "y": P, "reduction": "sum", "out": None} for name, arg in LOSSES},
    **{
        name: {
            "logits": X,
            "target": np.array([0, 3, 1]),
            "weight": np.ones(4),
            "label_smoothing": 0.1,
            "ignore_index": -100,
            "reduction": "mean",
        }
        for name in ("cross_entropy", "cross_entropy_backward", "cross_entropy_with_grad")
    },
    "batchnorm": {"x": X, "gamma": np.ones(4), "beta": np.ones(4), "eps": 1e-5, "out": None},
    "batchnorm_backward": {"dy": X, "trace": cf.batchnorm(X, np.ones(4), np.ones(4)), "out": None},
    "batchnorm_inference": {
        "x": X, "gamma": np.ones(4), "beta": np.ones(4), "mean": np.ones(4), "var": np.ones(4), "eps": 1e-5,
        "out": None,
    },
    **{
        name: {"x": PIXELS, "size": 3, "stride": 2, "padding": 1, "out": None}
        for name in ("max_pool2d", "avg_pool2d")
    },
    "max_pool2d_backward": {"dy": np.ones((2, 2, 3, 2)), "trace": cf.max_pool2d(PIXELS, 2), "out": None},
    "avg_pool2d_backward": {
        "dy": np.ones((2, 2, 3, 2)), "x_shape": (2, 4, 6, 2), "size": 3, "stride": 2, "padding": 1, "out": None,
    },
    **{
        op: dict(zip(("x", "w_x", "w_h", "b", "h0", "c0"), SEQUENCE[op], strict=False))
        | {activation: "tanh", "lengths": np.array([2, 0, 1]), "reverse": True}
        for op, activation in (("rnn", "nonlinearity"), ("lstm", "cell_activation"))
    },
    "rnn_backward": {
        "dh": np.ones((2, 3, 2)), "trace": cf.reference.rnn(*SEQUENCE["rnn"]), "dh_last": np.ones((3, 2)), "out": None,
    },
    "lstm_backward": {
        "dh": np.ones((2, 3, 2)), "trace": cf.reference.lstm(*SEQUENCE["lstm"]), "dh_last": np.ones((3, 2)),
        "dc_last": np.ones((3, 2)), "out": None,
    },
    "rnn_step": {
        "x": X, "h": np.ones((3, 2)), "w_x": np.ones((4, 2)), "w_h": np.ones((2, 2)), "b": np.ones(2),
        "nonlinearity": "relu",
    },
    "lstm_step": {
        "x": X, "h": np.ones((3, 2)), "c": np.ones((3, 2)), "w_x": np.ones((4, 8)), "w_h": np.ones((2, 8)),
        "b": np.ones(8), "cell_activation": "identity",
    },
    "find_stump": {"x": X, "y": np.array([0, 1, 0]), "sample_weight": np.ones(3), "n_classes": 2},
    "covariance": {"x": X, "ddof": 1},
    "points_with_moments": {"mean": np.ones(4), "cov": np.eye(4)},
    "extreme_trace": {"cov": np.eye(4), "k": 2, "largest": False},
    "gmm_e_step": {"x": X, **MIXTURE, "precisions_cholesky": np.ones((2, 4)), "covariance_type": "diag"},
    "gmm_m_step": {
        "x": X, "responsibilities": P[:, :2], "covariance_type": "full", "reg_covar": 0.1, "sample_weight": np.ones(3),
    },
    "gmm_em_step": {
        "x": X, **MIXTURE, "covariances": np.eye(4), "covariance_type": "tied", "reg_covar": 0.1,
        "sample_weight": np.ones(3),
    },
    "sgd_update": {
        "parameter": X, "gradient": X, "velocity": X, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.1,
        "nesterov": True,
    },
    "adam_update": {
        "parameter": X, "gradient": X, "m": P, "v": P, "lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8,
        "weight_decay": 0.1, "decoupled": False, "step": 3,
    },
}  # fmt: skip
for _name in ("cross_entropy_backward", "cross_entropy_with_grad"):
    OPS[_name] = OPS[_name] | {"out": None}


def right(name):
    return {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in OPS[name].items()}


HUGE = 2**58  # no machine has the memory; 2**58 float64 just fit an array's largest size
JUNK = {
    "None": lambda: None,
    "string": lambda: "junk",
    "empty string": lambda: "",
    "numeric string": lambda: "3",
    "bytes": lambda: b"\x00\xff",
    "object": object,
    "class": lambda: dict,
    "dict": lambda: {"x": 1},
    "set": lambda: {1, 2},
    "generator": lambda: (i for i in range(3)),
    "endless": lambda: itertools.repeat("y"),
    "function": lambda: len,
    "ragged": lambda: [[1.0, 2.0], [3.0]],
    "deeply ragged": lambda: [[[1], [2, 3]], [[4]], 5],
    "self-containing": lambda: (lambda a: a.append(a) or a)([]),
    "list of None": lambda: [None, None],
    "list of strings": lambda: ["x", "w"],
    "empty list": list,
    "empty tuple": tuple,
    "True": lambda: True,
    "zero": lambda: 0,
    "minus one": lambda: -1,
    "huge integer": lambda: 10**400,
    "2**63": lambda: 2**63,
    "-2**63 - 1": lambda: -(2**63) - 1,
    "0.5": lambda: 0.5,
    "NaN": lambda: float("nan"),
    "infinity": lambda: float("inf"),
    "complex": lambda: 1j,
    "Decimal": lambda: decimal.Decimal("0.1"),
    "date": lambda: datetime.date(2020, 1, 1),
    "scalar array": lambda: np.float32(2),
    "NumPy bool": lambda: np.bool_(True),
    "NumPy complex": lambda: np.complex64(1 + 1j),
    "longdouble": lambda: np.longdouble(1),
    "datetime": lambda: np.datetime64("2020-01-01"),
    "timedelta": lambda: np.timedelta64(3, "D"),
    "0-d": lambda: np.array(1.0),
    "one element": lambda: np.array([1.0]),
    "4-d": lambda: np.zeros((2, 2, 2, 2)),
    "empty 4-d": lambda: np.zeros((2, 0, 3, 2)),
    "huge 4-d": lambda: stride_zero(2, 2**30, 2**26, 2),
    "pair": lambda: (2, 1),
    "pair of pairs": lambda: [[1, 0], [2, 3]],
    "lopsided pairs": lambda: [[1, 0], [2]],
    "64-d": lambda: np.zeros((1,) * 64),
    "other shape": lambda: np.zeros((4, 3)),
    "empty array": lambda: np.zeros((0, 4)),
    "no columns": lambda: np.zeros((3, 0)),
    "float16": lambda: np.zeros((3, 4), np.float16),
    "longdoubles": lambda: np.zeros((3, 4), np.longdouble),
    "complexes": lambda: np.zeros((3, 4), np.complex128),
    "objects": lambda: np.full((3, 4), None),
    "object numbers": lambda: np.ones((3, 4), object),
    "strings": lambda: np.full((3, 4), "x"),
    "datetimes": lambda: np.zeros((3, 4), "M8[s]"),
    "records": lambda: np.zeros((3, 4), [("a", "f4"), ("b", "i4")]),
    "void": lambda: np.zeros((3, 4), "V3"),
    "booleans": lambda: np.zeros((3, 4), bool),
    "int8": lambda: np.zeros((3, 4), np.int8),
    "uint64": lambda: np.full((3, 4), 2**64 - 1, np.uint64),
    "float labels": lambda: np.zeros(3),
    "labels out of range": lambda: np.array([0, 4, 1]),
    "negative labels": lambda: np.array([0, -5, 1]),
    "uint64 labels": lambda: np.array([0, 2**63, 1], np.uint64),
    "NaN array": lambda: np.full((3, 4), np.nan),
    "float32 array": lambda: np.zeros((3, 4), np.float32),
    "swapped": lambda: np.zeros((3, 4), ">f8"),
    "read-only": lambda: stride_zero(3, 4, dtype=np.float64),
    "masked": lambda: np.ma.masked_all((3, 4)),
    "matrix": lambda: np.zeros((3, 4)).view(np.matrix),
    "the argument itself": lambda: X,
    "overlapping": lambda: X[::-1],
    "broadcast": lambda: stride_zero(1000, 4),
    "huge": lambda: stride_zero(HUGE),
    "huge rows": lambda: stride_zero(HUGE, 4),
    "huge columns": lambda: stride_zero(3, HUGE),
    "huge and empty": lambda: np.zeros((2**57, 0), np.float32),
    "empty and huge": lambda: np.zeros((0, 2**57), np.float32),
    "tuple of junk": lambda: ("a", None, 3),
    "tuple of arrays": lambda: (np.zeros((3, 4)), np.zeros((4, 3)), np.zeros(3)),
    "tuple of wrong arrays": lambda: (np.zeros(2), np.zeros((4, 3), np.float32), X),
}


GRADIENTS = ("dx", "dw", "db", "dgamma", "dbeta", "dw_x", "dw_h", "dh0", "dc0")


def throw(name, replaced):
    """Calls an op with junk for some arguments; returns how it ended. What must not happen raises."""
    arguments = right(name)
    for argument, junk in replaced.items():
        arguments[argument] = JUNK[junk]()
    if "the argument itself" in replaced.values():  # as an output, or as another input
        arguments |= {
            a: arguments[next(iter(OPS[name]))] for a, j in replaced.items() if j == "the argument itself"
        }
    try:
        getattr(cf, name)(**arguments)
    except MemoryError:
        return "no memory"
    except (ValueError, TypeError) as e:
        message = str(e)
    else:
        return "accepted"
    named = re.match(r"(?:out )?(\w+): expected", message)
    known = named and named[1] in {*arguments, *GRADIENTS}
    assert known or "the result would have shape" in message, f"no argument is named: {message}"
    return "refused"


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("name", OPS)
def test_each_argument_alone(name, backend):
    """Every junk in the place of every argument: the message names that one, or one it does not fit."""
    with cf.use_backend(backend):
        assert throw(name, {}) == "accepted"
        for argument, junk in itertools.product(OPS[name], JUNK):
            if backend == "reference" and ("huge" in junk or junk == "broadcast"):
                continue
            try:
                throw(name, {argument: junk})
            except Exception as e:
                raise AssertionError(f"{argument} = {junk}: {type(e).__name__}: {e}") from e


@settings(max_examples=300)
@given(st.data())
def test_several_arguments_at_once(data):
    storm(data)


def storm(data):
    name = data.draw(st.sampled_from(sorted(OPS)))
    arguments = data.draw(st.lists(st.sampled_from(sorted(OPS[name])), min_size=1, max_size=4, unique=True))
    throw(name, {a: data.draw(st.sampled_from(sorted(JUNK))) for a in arguments})


def test_a_storm_does_not_kill_the_interpreter():
    code = """
import conftest, test_junk
from hypothesis import given, settings, strategies as st
settings(max_examples=1000)(given(st.data())(test_junk.storm))()
print("alive")
"""
    done = run_python(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{code}", "-X", "faulthandler"
    )
    assert done.stdout.endswith("alive\n"), done.stderr[-3000:]


def test_the_list_of_ops_is_complete():
    for name, arguments in OPS.items():
        assert list(arguments) == list(inspect.signature(getattr(cf, name)).parameters), name


def test_other_threads_may_change_the_labels_meanwhile():
    """The kernel's labels are a private copy, checked: a race gives a loss or a ValueError, not a crash."""
    code = """
import threading, numpy as np, closedform as cf
x, t, stop = np.zeros((50_000, 3), np.float32), np.zeros(50_000, np.int64), threading.Event()
def flip():
    while not stop.is_set():
        t[:] = 2**40; t[:] = -2**40; t[:] = 1
other = threading.Thread(target=flip); other.start()
for _ in range(100):
    try: cf.cross_entropy_with_grad(x, t)
    except ValueError: pass
stop.set(); other.join(); print("alive")
"""
    done = run_python(code)
    assert done.stdout == "alive\n", done.stderr
