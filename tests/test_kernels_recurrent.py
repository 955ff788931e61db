"""The recurrent kernels: against their twins on any input, threads, neighbours, steps, very long sequences."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import closedform as cf
from closedform.catalogue import OPS, error_in_eps, outputs
from closedform.catalogue.recurrent import ACTIVATIONS, backward_call, forward_call, step_call
from conftest import run_python, same_bits

ENTRY = {op.name: op for op in OPS}
DTYPES = [np.float32, np.float64]
every_op = pytest.mark.parametrize("op", ["rnn", "lstm"])
every_dtype = pytest.mark.parametrize("dtype", DTYPES)

# (T, N, D, H): rows enough for every thread, and few rows with many units; tiles whole and not.
SHAPES = [(6, 64, 9, 16), (4, 21, 33, 40), (20, 1, 64, 64), (7, 2, 5, 131), (9, 5, 8, 96), (3, 150, 2, 3)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def draw_lengths(T, N):
    return np.random.default_rng([T, N]).integers(0, T + 1, N)


def variants(op, T, N):
    """Options that change what a kernel does."""
    name, (_, other) = ACTIVATIONS[op]
    yield {}
    yield {name: other, "reverse": True}
    yield {"lengths": draw_lengths(T, N), "reverse": False}
    yield {"lengths": draw_lengths(T, N), "reverse": True}


def everything(op, call):
    """All that forward and backward compute."""
    trace = getattr(cf, op)(*call.args, **call.options)
    n = 2 if op == "rnn" else 5
    dh, _ = backward_call(op, call).args
    last = {"dh_last": trace.h_last} if op == "rnn" else {"dh_last": trace.h_last, "dc_last": trace.c_last}
    return (*trace[:n], *getattr(cf, f"{op}_backward")(dh, trace, **last))


def assert_same_bits(found, expected, said=""):
    for i, (f, e) in enumerate(zip(found, expected, strict=True)):
        assert same_bits(f, e), f"result {i} {said}"


# -- against the twin --


@settings(max_examples=60)
@given(st.data())
def test_any_input_against_the_twin(data):
    integers = st.integers
    op = data.draw(st.sampled_from(["rnn", "lstm"]), label="op")
    dtype = data.draw(st.sampled_from(DTYPES), label="dtype")
    T = data.draw(integers(0, 12), label="T")
    N = data.draw(st.one_of(integers(0, 20), integers(20, 70)), label="N")
    D = data.draw(integers(0, 40), label="D")
    H = data.draw(st.one_of(integers(0, 40), integers(60, 140)), label="H")
    name, activations = ACTIVATIONS[op]
    options = {
        name: data.draw(st.sampled_from(activations), label=name),
        "reverse": data.draw(st.booleans(), label="reverse"),
    }
    if data.draw(st.booleans(), label="lengths"):
        options["lengths"] = draw_lengths(T, N)
    forward = forward_call(op, T, N, D, H, dtype, **options)
    backward = backward_call(op, forward, last=data.draw(st.booleans(), label="last"))
    step = step_call(op, N, D, H, dtype, **{name: options[name]})
    for entry, call in ((op, forward), (f"{op}_backward", backward), (f"{op}_step", step)):
        found = outputs(ENTRY[entry], ENTRY[entry].public, call)
        assert error_in_eps(ENTRY[entry], call, found) <= ENTRY[entry].allowed(call), entry


@every_op
def test_strong_recurrence(op, isa):
    """Weights with which a state is remembered for long: against the twin in the same precision, float64."""
    T, N, D, H = 30, 9, 5, 24
    x, w_x, w_h, b, *states = forward_call(op, T, N, D, H, np.float64).args
    orthogonal, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(H, H)))
    w_h = np.tile(orthogonal, w_h.shape[1] // H)
    call = forward_call(op, T, N, D, H, np.float64)
    call = type(call)("", (x, w_x, w_h, b, *states))
    found = everything(op, call)
    with cf.use_backend("reference"):
        expected = everything(op, call)
    for f, e in zip(found, expected, strict=True):
        assert np.max(np.abs(f - e)) <= 1e4 * np.finfo(float).eps * np.max(np.abs(e))


# -- bits --


@every_dtype
@every_shape
@every_op
def test_bits_do_not_depend_on_threads(op, shape, dtype):
    for options in variants(op, *shape[:2]):
        call = forward_call(op, *shape, dtype, **options)
        with cf.num_threads(1):
            expected = everything(op, call)
        for threads in (2, 3, 7):
            with cf.num_threads(threads):
                assert_same_bits(everything(op, call), expected, f"on {threads} threads, {options}")


def rows_of(op, call, rows, dh):
    """What forward and backward compute of some rows, when the batch has these alone, in this order."""
    x, w_x, w_h, b, *states = call.args
    options = dict(call.options)
    if "lengths" in options:
        options["lengths"] = options["lengths"][rows]
    trace = getattr(cf, op)(x[:, rows], w_x, w_h, b, *(s[rows] for s in states), **options)
    dx, _, _, _, *dstates = getattr(cf, f"{op}_backward")(dh[:, rows], trace)
    return (*trace[: 2 if op == "rnn" else 5], dx, *dstates)


def take(results, rows):
    return [np.ascontiguousarray(a[..., rows, :]) for a in results]


@every_shape
@every_op
def test_a_row_does_not_see_its_neighbours(op, shape):
    """The same bits in another order, in a smaller batch, alone, and among rows of NaN."""
    T, N, _, H = shape
    for options in variants(op, T, N):
        call = forward_call(op, *shape, np.float32, **options)
        dh = np.random.default_rng(1).normal(size=(T, N, H)).astype(np.float32)
        expected = rows_of(op, call, np.arange(N), dh)
        for rows in (np.random.default_rng(0).permutation(N), np.arange(0, N, 2), np.array([N // 2])):
            assert_same_bits(rows_of(op, call, rows, dh), take(expected, rows), f"of rows {rows}, {options}")
        x, *rest = call.args
        x, row = x.copy(), np.array([N // 2])
        others = np.arange(N) != N // 2
        x[:, others] = dh[:, others] = np.nan
        found = rows_of(op, type(call)("", (x, *rest), options), np.arange(N), dh)
        assert_same_bits(take(found, row), take(expected, row), f"among NaN, {options}")


@every_dtype
@every_shape
@every_op
def test_steps_have_the_bits_of_the_sequence(op, shape, dtype):
    x, w_x, w_h, b, *states = forward_call(op, *shape, dtype).args
    trace = getattr(cf, op)(x, w_x, w_h, b, *states)
    step = getattr(cf, f"{op}_step")
    for t in range(len(x)):
        stepped = step(x[t], *states, w_x, w_h, b)
        states = [stepped] if op == "rnn" else list(stepped)
        assert same_bits(states[0], trace.h[t])
    assert_same_bits(states, trace[1 : 1 + len(states)])


@every_shape
@every_op
def test_a_sequence_in_parts_has_the_bits_of_the_whole(op, shape):
    """State carried from part to part, as in truncated backpropagation."""
    x, w_x, w_h, b, *states = forward_call(op, *shape, np.float32).args
    whole = getattr(cf, op)(x, w_x, w_h, b, *states)
    half = shape[0] // 2
    for part in (slice(0, half), slice(half, None)):
        trace = getattr(cf, op)(x[part], w_x, w_h, b, *states)
        assert same_bits(trace.h, whole.h[part])
        states = trace[1 : 1 + len(states)]
    assert_same_bits(states, whole[1 : 1 + len(states)])


@every_shape
@every_op
def test_reverse_has_the_bits_of_the_sequence_turned(op, shape):
    x, *rest = forward_call(op, *shape, np.float32).args
    turned = getattr(cf, op)(x[::-1], *rest)
    trace = getattr(cf, op)(x, *rest, reverse=True)
    assert same_bits(trace.h, turned.h[::-1].copy())
    assert same_bits(trace.h_last, turned.h_last)


@every_op
def test_calls_from_several_threads_at_once(op):
    """Few rows and many units: the threads of a call wait for each other at every step, those of no other call."""
    call = forward_call(op, 40, 2, 16, 200, np.float32)
    expected = everything(op, call)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: everything(op, call), range(24)):
            assert_same_bits(found, expected)


# -- memory --


@every_op
def test_layout_of_a_trace_does_not_matter(op):
    call = backward_call(op, forward_call(op, 4, 7, 5, 9, np.float32, lengths=draw_lengths(4, 7)))
    dh, trace = call.args
    backward = getattr(cf, f"{op}_backward")
    expected = backward(dh, trace)

    def spread(a):
        return np.repeat(a, 2, axis=-1)[..., ::2] if isinstance(a, np.ndarray) else a

    def swapped(a):
        return a.astype(a.dtype.newbyteorder()) if isinstance(a, np.ndarray) else a

    for change in (spread, swapped, lambda a: np.asfortranarray(a) if isinstance(a, np.ndarray) else a):
        assert_same_bits(backward(dh, type(trace)(*map(change, trace))), expected)


@every_op
def test_out_of_any_layout(op):
    call = backward_call(op, forward_call(op, 5, 13, 6, 17, np.float32))
    backward = getattr(cf, f"{op}_backward")
    expected = backward(*call.args, **call.options)
    out = tuple(np.full((*g.shape, 2), np.nan, g.dtype)[..., 0] for g in expected)
    for f, o, e in zip(backward(*call.args, **call.options, out=out), out, expected, strict=True):
        assert f is o
        np.testing.assert_array_equal(f, e)


LONG = """
import gc
from pathlib import Path
import numpy as np, closedform as cf

def status(field):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024

def scratch(call):
    '''Bytes by which a call raises the peak of this process, beyond its results.'''
    gc.collect(); cf.release_memory()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = status("VmRSS")
    results = call()
    given = sum(a.nbytes for a in results if isinstance(a, np.ndarray) and not any(a is k for k in known))
    return status("VmHWM") - before - given, results

T, N, D, H = 100_000, 1, 8, 8
G = {"rnn": 1, "lstm": 4}[OP]
rng = np.random.default_rng(0)
x, w_x, w_h = (rng.normal(0, 0.3, s).astype(np.float32) for s in ((T, N, D), (D, G * H), (H, G * H)))
forward, backward = getattr(cf, OP), getattr(cf, OP + "_backward")
forward(x[:9], w_x, w_h)  # threads start
known = [x, w_x, w_h]
used, trace = scratch(lambda: forward(x, w_x, w_h))
known = []
used_too, gradients = scratch(lambda: backward(trace.h, trace))
assert all(np.isfinite(a).all() for a in (trace.h, *gradients))
tail = forward(x[-50:], w_x, w_h, None, trace.h[-51], *([trace.c[-51]] if G == 4 else []))
assert tail.h.tobytes() == trace.h[-50:].tobytes()
print(used, used_too)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@every_op
def test_a_very_long_sequence_in_bounded_scratch(op):
    done = run_python(f"OP = {op!r}\n{LONG}")
    assert done.returncode == 0, done.stderr
    assert all(int(used) <= 8 << 20 for used in done.stdout.split()), done.stdout
