"""What the library holds: no leak, a bounded pool that can be given back, results that outlive everything."""

import gc
import sys
import threading
import weakref

import numpy as np
import pytest

import closedform as cf
from closedform import _kernels
from conftest import run_python

MIB = 1 << 20
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

FLAT = """
import os, random
import numpy as np
import closedform as cf
from closedform import _kernels

page = os.sysconf("SC_PAGESIZE")
rng = random.Random(0)
pool = np.random.default_rng(0).random(300_000)

def rss():
    cf.release_memory()
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * page

def array(*shape):
    return pool[: int(np.prod(shape))].reshape(shape).astype(rng.choice([np.float32, np.float64]))

def call():
    N, D, H = (rng.randint(0, 40) for _ in range(3))
    if rng.random() < 0.02:
        N *= 100
    x, w, b, dy = array(N, D), array(D, H), array(H), array(N, H)
    kind = rng.randrange(12)
    if kind == 0:
        cf.dense(x, w, b); cf.dense_backward(dy, x, w)
    elif kind == 1:
        cf.dense(x[::-1], w.T.copy().T, out=None)
    elif kind == 2:
        cf.gelu(x); cf.gelu_backward(x, x); cf.relu(x.T, out=np.empty_like(x.T))
    elif kind == 3:
        cf.softmax(x, axis=0); cf.logsumexp(x); cf.softmax_backward(x, x)
    elif kind == 4 and D:
        cf.cross_entropy_with_grad(x, np.zeros(N, int), weight=array(D), label_smoothing=0.1)
    elif kind == 5:
        y = abs(x) % 1
        cf.binary_cross_entropy(y, y); cf.squared_error(x, y, reduction="none")
    elif kind == 6:
        cf.batchnorm_backward(x, cf.batchnorm(x, array(D), array(D)))
    elif kind == 7:
        size, images = rng.randint(1, 3), array(2, N % 30 + 3, D % 30 + 3, H)
        trace = cf.max_pool2d(images, size, stride=rng.randint(1, 3))
        cf.max_pool2d_backward(trace.y, trace); cf.avg_pool2d(images, size)
        cf.avg_pool2d_backward(images, (*images.shape,), 1)
    elif kind == 8:
        cf.adam_update(x, x.copy(), np.zeros_like(x), np.zeros_like(x), lr=0.1, step=1)
    elif kind == 9:
        N, H = N % 30, H % 8
        sequence, x, lengths = array(5, N, D), array(N, D), [rng.randint(0, 5) for _ in range(N)]
        trace = cf.lstm(sequence, array(D, 4 * H), array(H, 4 * H), lengths=lengths or None)
        cf.lstm_backward(trace.h, trace); cf.lstm_step(x, trace.h_last, trace.c_last, trace.w_x, trace.w_h)
        trace = cf.rnn(sequence, array(D, H), array(H, H), reverse=True)
        cf.rnn_backward(trace.h, trace); cf.rnn_step(x, trace.h_last, trace.w_x, trace.w_h)
    elif kind == 10 and N and D:
        mixture = np.full(3, 1 / 3), array(3, D), np.ones(3)
        _, r = cf.gmm_e_step(x, *mixture, covariance_type="spherical")
        cf.gmm_m_step(x, r, covariance_type="tied"); cf.gmm_em_step(x, *mixture, covariance_type="spherical")
    else:  # errors must not leak either
        for f in (lambda: cf.dense(x, b[None, None]), lambda: cf.relu(x, out=w[None]),
                  lambda: cf.softmax(x, axis=7), lambda: cf.cross_entropy(x, np.full(N, -1)),
                  lambda: cf.tanh("junk"), lambda: _kernels.dense(x, b, None, None)):
            try:
                f()
            except (ValueError, TypeError):
                pass

for _ in range(3000):
    call()
before = rss()
for _ in range(10_000):
    call()
print(rss() - before)
"""


@linux
def test_memory_stays_flat_over_ten_thousand_calls():
    done = run_python(FLAT, "-W", "ignore")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 3 * MIB


@linux
def test_no_reference_leaks():
    x, w, out = np.ones((30, 20)), np.ones((20, 10)), np.empty((30, 10))
    strided = np.ones((60, 20))[::2]
    calls = (
        lambda: cf.dense(x, w, out=out),
        lambda: cf.dense(strided, w),
        lambda: cf.relu(x, out=np.empty_like(x)),
        lambda: cf.cross_entropy_with_grad(out, np.zeros(30, int)),
        lambda: cf.softmax(x, axis=0),
    )
    objects = (x, w, out, strided, strided.base, None, np.dtype(np.float64), np.ndarray)
    for call in calls:
        call()
    gc.collect()
    before = [sys.getrefcount(o) for o in objects]
    for _ in range(100):
        for call in calls:
            call()
    after = [sys.getrefcount(o) for o in objects]
    assert all(abs(b - a) < 50 for a, b in zip(before, after, strict=True))


def test_release_memory_gives_back_what_is_held():
    cf.release_memory()
    assert _kernels.held_bytes() == 0
    y = cf.relu(np.ones((1000, 1000)))
    cf.dense(np.ones((300, 300)), np.ones((300, 300)))
    del y
    held = _kernels.held_bytes()
    assert held >= 8_000_000
    assert cf.release_memory() == held
    assert _kernels.held_bytes() == 0
    assert cf.release_memory() == 0


@linux
def test_release_memory_reaches_the_system():
    code = """
import os, numpy as np, closedform as cf
def rss():
    with open("/proc/self/statm") as f: return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")
x = np.ones((4000, 2000)); y = cf.relu(x); del x, y
before = rss(); given = cf.release_memory(); print(given >= 64_000_000, before - rss() >= 60_000_000)
"""
    assert run_python(code).stdout == "True True\n"


def test_the_pool_is_bounded():
    cf.release_memory()
    x = np.ones((1 << 20,), np.float32)  # 4 MiB
    results = [cf.relu(x) for _ in range(140)]  # 560 MiB at once
    del results
    assert _kernels.held_bytes() <= 512 * MIB + 64 * MIB * (cf.get_num_threads() + 1)
    cf.release_memory()


def test_live_results_are_never_recycled():
    x = np.arange(300_000, dtype=np.float32)
    first = cf.relu(x)
    kept, view = first, first[1000:][::7]
    expected, expected_view = first.copy(), view.copy()
    del first
    for _ in range(20):
        other = cf.relu(-x)
        assert not np.shares_memory(other, kept)
        cf.release_memory()
    np.testing.assert_array_equal(kept, expected)
    owner = weakref.ref(kept)
    del kept
    gc.collect()
    for _ in range(20):
        cf.relu(-x)
    assert owner() is None or np.array_equal(owner(), expected)
    np.testing.assert_array_equal(view, expected_view)  # a view keeps the memory


def test_recycled_memory_carries_nothing_over():
    """Every element of a result is written: blocks come back full of the last result."""
    x, w = np.ones((500, 300)), np.ones((300, 200))
    for _ in range(3):
        for result in (np.full((500, 300), np.nan), np.full((500, 200), np.nan)):
            del result
        poison = cf.dense(np.full_like(x, np.nan), w)
        del poison
        np.testing.assert_array_equal(cf.dense(x, w), np.full((500, 200), 300.0))
        np.testing.assert_array_equal(cf.dense(np.ones((500, 0)), np.ones((0, 200))), np.zeros((500, 200)))


def test_results_that_die_in_other_threads():
    x = np.ones((300, 300))
    results = [cf.relu(x) for _ in range(50)]

    def drop():
        while True:
            try:
                results.pop()
            except IndexError:
                return

    threads = [threading.Thread(target=drop) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    made = []
    t = threading.Thread(target=lambda: made.append(cf.relu(x)))  # and one that outlives its thread
    t.start()
    t.join()
    cf.release_memory()
    np.testing.assert_array_equal(made[0], x)


def test_results_may_outlive_the_module():
    code = """
import sys, numpy as np, closedform as cf, builtins
builtins.kept = cf.relu(np.ones((600, 600)))
builtins.more = [cf.dense(np.ones((400, 400)), np.ones((400, 400))) for _ in range(5)]
for name in [n for n in sys.modules if n.startswith("closedform")]: del sys.modules[name]
del cf
print(float(kept.sum()))
"""
    done = run_python(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "360000.0\n", "")


@pytest.mark.slow
def test_arrays_of_more_than_two_gigabytes():
    N, H = 70_000, 8_000
    x, w = np.ones((N, 2), np.float32), np.ones((2, H), np.float32)
    x[:, 0], w[1] = np.arange(N), np.arange(H)
    y = cf.dense(x, w)
    assert y.nbytes > 2**31
    for i in (0, 1, N // 2, N - 1):
        np.testing.assert_array_equal(y[i], i + np.arange(H, dtype=np.float32))
    cf.relu(y, out=(z := np.empty_like(y)))
    np.testing.assert_array_equal(z[-1], y[-1])
    del z
    dx = cf.dense_backward(y, x, w, needs=("x",)).dx
    np.testing.assert_allclose(dx[-1], y[-1].astype(np.float64) @ w.T, rtol=1e-5)
    flat = y.reshape(1, -1)
    flat -= flat.max()
    del y
    s = cf.softmax(flat)
    assert abs(s.sum(dtype=np.float64) - 1) <= 1e-5
    assert s[0, -1] > 0
    del s, flat
    cf.release_memory()


def test_scratch_of_max_pooling_does_not_grow_with_the_taps():
    x = np.random.default_rng(0).random((1, 1000, 1000, 1), np.float32)
    cf.release_memory()
    for _ in range(2):  # at the second call the arena is as large as it needs to be
        assert cf.max_pool2d(x, 1000).argmax.item() == x.argmax()
    assert _kernels.held_bytes() <= 12 * MIB  # the image is 4, a list of all taps would be 16
