"""Every op refuses bad input with an error that names the argument, and writes where `out` says."""

import inspect

import numpy as np
import pytest

import closedform as cf
from closedform.catalogue import OPS, BadCall, Call, Op

every_op = pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)


@pytest.fixture(params=["compiled", "reference"])
def backend(request):
    with cf.use_backend(request.param):
        yield request.param


def refuse(op: Op, bad: BadCall) -> None:
    with pytest.raises(bad.error, match=rf"^{bad.argument}\b.*(expected|supposed)"):
        op.public(*bad.args, **bad.options)


@every_op
def test_hostile_input_is_refused(op, backend):
    for bad in op.hostile():
        try:
            refuse(op, bad)
        except BaseException as e:
            e.add_note(f"{op.name}: {bad.label}")
            raise


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble, np.complex128, object, "U3", "M8[s]"])
@every_op
def test_dtypes_that_are_no_real_numbers_are_refused(op, dtype):
    if np.dtype(dtype) == np.float64:
        pytest.skip("long double is double here")
    names = list(inspect.signature(op.public).parameters)
    call = list(op.ordinary(np.float64))[1]
    for i, (name, a) in enumerate(zip(names, call.args, strict=False)):
        if isinstance(a, np.ndarray):
            wrong = np.ones(a.shape, np.int64).astype(dtype)
            args = (*call.args[:i], wrong, *call.args[i + 1 :])
            refuse(op, BadCall("", name, args, call.options, TypeError))


SEVERAL = (  # their `out` is a tuple
    "dense_backward",
    "conv2d_backward",
    "batchnorm_backward",
    "rnn_backward",
    "lstm_backward",
)
WITH_OUT = [op for op in OPS if "out" in inspect.signature(op.public).parameters and op.name not in SEVERAL]


def delivered(op: Op, result: object) -> object:
    """What `out` receives: the y of a trace, the gradient of (loss, gradient)."""
    if isinstance(result, tuple):
        return result[0] if op.computed else result[-1]
    return result


def result_of(op: Op, call: Call) -> np.ndarray:
    return np.asarray(delivered(op, op.public(*call.args, **call.options)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("op", WITH_OUT, ids=lambda op: op.name)
def test_out_is_written_and_returned(op, dtype, backend):
    for call in op.ordinary(dtype):
        want = result_of(op, call)
        out = np.full(want.shape, np.nan, dtype)
        strided = np.full((*want.shape, 2), np.nan, dtype)[..., 0]
        for target in (out, strided, out.copy(order="F")):
            result = op.public(*call.args, **call.options, out=target)
            assert delivered(op, result) is target
            np.testing.assert_array_equal(target, want)


@pytest.mark.parametrize("op", WITH_OUT, ids=lambda op: op.name)
def test_out_that_does_not_fit_is_refused(op, backend):
    call = list(op.ordinary(np.float64))[3]
    shape = result_of(op, call).shape
    read_only = np.zeros(shape)
    read_only.flags.writeable = False
    base = np.zeros(max(np.prod(shape, dtype=int), call.args[0].size))
    overlapping = (base[: call.args[0].size].reshape(call.args[0].shape), *call.args[1:])
    bad = [
        BadCall("shape", "out", call.args, {"out": np.zeros((*shape, 1))}),
        BadCall("dtype", "out", call.args, {"out": np.zeros(shape, np.float32)}, TypeError),
        BadCall("byte order", "out", call.args, {"out": np.zeros(shape, ">f8")}, TypeError),
        BadCall("no array", "out", call.args, {"out": [0.0]}, TypeError),
        BadCall("read-only", "out", call.args, {"out": read_only}),
        BadCall("overlap", "out", overlapping, {"out": base[: np.prod(shape, dtype=int)].reshape(shape)}),
    ]
    for b in bad:
        refuse(op, BadCall(b.label, b.argument, b.args, {**call.options, **b.options}, b.error))
