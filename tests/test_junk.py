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


def stride_zero(*shape, dtype=np.float32):
    return np.broadcast_to(dtype(0.5), shape)


# Every op with arguments that are right.
OPS = {
    "dense": {"x": X, "w": X.T.copy(), "b": np.ones(3), "out": None},
    "dense_backward": {"dy": np.ones((3, 3)), "x": X, "w": X.T.copy(), "needs": ("x", "w", "b"), "out": None},
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
    **{
        name: {arg: P, "y": P, "reduction": "sum"}
        for name, arg in (("squared_error", "y_hat"), ("binary_cross_entropy", "y_hat"), ("binary_cross_entropy_with_logits", "z"))
    },
    **{
        f"{name}_backward": {arg: P, "y": P, "reduction": "sum", "out": None}
        for name, arg in (("squared_error", "y_hat"), ("binary_cross_entropy", "y_hat"), ("binary_cross_entropy_with_logits", "z"))
    },
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
    "sgd_update": {
        "parameter": X, "gradient": X, "velocity": X, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True,
    },
    "adam_update": {
        "parameter": X, "gradient": X, "m": P, "v": P, "lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8,
        "weight_decay": 0.1, "decoupled": False, "step": 3,
    },
}  # fmt: skip
for _name in ("cross_entropy_backward", "cross_entropy_with_grad"):
    OPS[_name] = OPS[_name] | {"out": None}

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


def throw(name, replaced):
    """Calls an op with junk for some arguments; returns how it ended. What must not happen raises."""
    arguments = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in OPS[name].items()}
    for argument, junk in replaced.items():
        arguments[argument] = (
            arguments["y" if "y" in arguments else next(iter(arguments))]
            if junk == "the argument itself"
            else JUNK[junk]()
        )
    try:
        getattr(cf, name)(**arguments)
    except MemoryError:
        return "no memory"
    except (ValueError, TypeError) as e:
        named = re.match(r"(?:out )?(\w+): expected", str(e))
        known = {*arguments, "dx", "dw", "db"}
        assert (named and named[1] in known) or "the result would have shape" in str(e), (
            f"no argument is named: {e}"
        )
        return "refused"
    return "accepted"


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
settings(max_examples=1500)(given(st.data())(test_junk.storm))()
print("alive")
"""
    done = run_python(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{code}", "-X", "faulthandler"
    )
    assert done.returncode == 0 and done.stdout.endswith("alive\n"), done.stderr[-3000:]


def test_the_list_of_ops_is_complete():
    for name, arguments in OPS.items():
        assert list(arguments) == list(inspect.signature(getattr(cf, name)).parameters), name


# -- messages: exactly which argument --

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
    arguments = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in OPS[name].items()}
    with (
        cf.use_backend(backend),
        pytest.raises(error, match=f"^{argument}: expected .*; ?(got|since)|^{argument}: expected .*since"),
    ):
        getattr(cf, name)(**arguments | wrong)


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
            with pytest.raises(ValueError, match="^out: expected memory of its own"):
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
    ):
        with pytest.raises(ValueError, match="shape"):
            call()
    with pytest.raises(MemoryError):
        cf.dense(np.zeros((2**57, 0), np.float32), np.zeros((0, 4), np.float32))
    for op in (cf.relu, cf.softmax, cf.logsumexp):
        with pytest.raises(MemoryError):
            op(stride_zero(HUGE))
    # Very many rows of nothing are still nothing.
    nothing = np.zeros((2**57, 0), np.float32)
    for op in (cf.relu, cf.softmax, cf.log_softmax, cf.softmax_jacobian):
        assert op(nothing).size == 0
    assert cf.dense(nothing, np.zeros((0, 0), np.float32)).shape == (2**57, 0)
    dx, dw, db = cf.dense_backward(nothing, nothing, np.zeros((0, 0), np.float32))
    assert (dx.shape, dw.shape, db.shape) == ((2**57, 0), (0, 0), (0,))


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


# -- past the wrappers: the compiled module refuses what would read outside an array --

DIRECT = """
import faulthandler, itertools
faulthandler.enable()
import numpy as np
from closedform import _kernels as k

f = np.zeros
junk = [None, 3, -1, 2**70, "x", b"x", object(), f(3), f((2, 3)), f((3, 2), "f4"), f((0, 5)), f((5, 0)), f((2, 3), int), f(()),
        f((2, 3), complex), f((2, 3), object), f((2, 3), ">f8"), np.full((2, 3), None), [[1.0], [2.0, 3.0]], True, 1.5]
calls = {
    "dense": 4, "dense_backward": 7, "relu": 4, "relu_backward": 5, "sigmoid": 2, "gelu_backward": 3, "softmax": 3,
    "softmax_backward": 4, "logsumexp": 2, "log_softmax_backward": 3, "softmax_jacobian": 2, "sgd_update": 7,
    "select_isa": 1, "copy": 2, "first_outside": 3, "erf": 2,
}
import random
rng = random.Random(0)
ended = {"raised": 0, "returned": 0}
for name, n in calls.items():
    for _ in range(1500):
        arguments = [rng.choice(junk) for _ in range(n)]
        try:
            getattr(k, name)(*arguments)
            ended["returned"] += 1
        except Exception:
            ended["raised"] += 1
        except BaseException:
            raise SystemExit(f"{name} {arguments}")
for name in ("cross_entropy", "adam_update"):
    n = {"cross_entropy": 9, "adam_update": 12}[name]
    good = {"cross_entropy": [f((2, 3)), f(2, int), None, 0.0, None, 1.0, False, True, None],
            "adam_update": [f(3), f(3), f(3), f(3), 0.1, 0.9, 0.9, 0.1, 0.1, False, 0.1, 0.1]}[name]
    for _ in range(3000):
        arguments = list(good)
        for _ in range(rng.randint(1, 3)):
            arguments[rng.randrange(n)] = rng.choice(junk)
        try:
            getattr(k, name)(*arguments)
            ended["returned"] += 1
        except Exception:
            ended["raised"] += 1
for wrong in (
    lambda: k.dense(f((2, 3)), f((4, 2)), None, None),
    lambda: k.dense(f((2, 3)), f((3, 2)), f(5), None),
    lambda: k.dense(f((2, 3)), f((3, 2)), None, f((2, 3))),
    lambda: k.dense(f((2, 3)), f((3, 2)), None, f((2, 2), "f4")),
    lambda: k.dense_backward(f((2, 3)), f((2, 3)), f((3, 2)), True, True, True, None),
    lambda: k.relu(f(3), 1.0, 0.0, f(2)),
    lambda: k.tanh_backward(f(3), f(2), None),
    lambda: k.softmax(f(()), 1.0, None),
    lambda: k.softmax_backward(f((2, 3)), f((2, 2)), 1.0, None),
    lambda: k.cross_entropy(f((2, 3)), np.array([0, 3]), None, 0.0, None, 1.0, False, True, None),
    lambda: k.cross_entropy(f((2, 3)), np.array([0, -1]), None, 0.0, None, 1.0, False, True, None),
    lambda: k.cross_entropy(f((2, 3)), np.array([0]), None, 0.0, None, 1.0, False, True, None),
    lambda: k.cross_entropy(f((2, 3)), f((2, 2)), None, 0.0, None, 1.0, False, True, None),
    lambda: k.cross_entropy(f((2, 3)), f(2, int), f(2), 0.0, None, 1.0, False, True, None),
    lambda: k.sgd_update(f(3), f(2), None, 0.1, 0.0, 0.0, False),
    lambda: k.sgd_update(f(3), f(3), f(2), 0.1, 0.0, 0.0, False),
    lambda: k.sgd_update(f((3, 3)).T[::2], f((2, 3)), None, 0.1, 0.0, 0.0, False),
    lambda: k.copy(f(3), f(2)),
    lambda: k.copy(np.full(3, None), np.full(3, None)),
    lambda: k.fma_rounds(f(1), 0, 1),
    lambda: k.fma_rounds(f(1), 1, 0),
    lambda: k.fma_rounds(f(1), 1, -5),
):
    try:
        wrong()
    except Exception:
        continue
    raise SystemExit("accepted: " + str(wrong.__code__.co_firstlineno))
assert ended["raised"] > 1000 and ended["returned"] > 100, ended
print("alive")
"""


def test_direct_calls_of_the_compiled_module():
    done = run_python(DIRECT, "-W", "ignore")
    assert done.returncode == 0 and done.stdout == "alive\n", done.stdout + done.stderr[-3000:]
