"""Threads: the same bits for any number of them, from many Python threads at once, and after a fork."""

import os
import sys
import threading
import time

import numpy as np
import pytest

import closedform as cf
from closedform import _kernels
from conftest import run_python

COUNTS = (1, 2, 3, 5, 8)


def draw(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def families(dtype=np.float32):
    """Calls of every family, large enough to be cut: around multiples of a block, each way through gemm."""
    calls = {}
    for M, N, K in (
        (300, 300, 300),
        (64, 1500, 400),
        (1500, 65, 300),
        (2000, 30, 8),
        (3100, 12, 40),
        (5, 4000, 300),
    ):
        x, w, b = draw(M, K, dtype=dtype), draw(K, N, dtype=dtype), draw(N, dtype=dtype)
        calls[f"dense {M} {N} {K}"] = lambda x=x, w=w, b=b: (
            cf.dense(x, w, b),
            *cf.dense_backward(cf.dense(x, w, b), x, w),
        )
    for n in (16384, 16385, 5 * 16384 - 1, 200_001):
        x, y = draw(n, dtype=dtype), np.abs(draw(n, dtype=dtype, seed=1)) % 1
        calls[f"activation {n}"] = lambda x=x: (
            cf.relu(x),
            cf.sigmoid(x),
            cf.tanh(x),
            cf.softplus(x),
            cf.gelu(x),
        )
        calls[f"activation backward {n}"] = lambda x=x: (cf.gelu_backward(x, x), cf.tanh_backward(x, x))
        for reduction in ("sum", "mean", "none"):
            calls[f"losses {n} {reduction}"] = lambda x=x, y=y, r=reduction: (
                cf.squared_error(x, y, reduction=r),
                cf.binary_cross_entropy(y, y, reduction=r),
                cf.binary_cross_entropy_with_logits(x, y, reduction=r),
                cf.binary_cross_entropy_with_logits_backward(x, y, reduction=r),
            )

        def updates(x=x, y=y):
            p, m, v = x.copy(), y.copy(), y.copy()
            cf.adam_update(p, x, m, v, lr=0.1, step=2)
            cf.sgd_update(p, x, m, lr=0.1, momentum=0.5)
            return p, m, v

        calls[f"updates {n}"] = updates
    for N, K in ((3, 30_000), (40_000, 3), (700, 100), (1, 200_000)):
        x, labels = draw(N, K, dtype=dtype), np.arange(N) % K
        calls[f"softmax {N} {K}"] = lambda x=x: (
            cf.softmax(x),
            cf.log_softmax(x),
            cf.logsumexp(x),
            cf.softmax_backward(x, x),
        )
        calls[f"cross_entropy {N} {K}"] = lambda x=x, t=labels: (
            *cf.cross_entropy_with_grad(x, t, label_smoothing=0.1),
            cf.cross_entropy(x, t, reduction="sum"),
        )
    return calls


def bits(results):
    return [np.asarray(r).tobytes() for r in results]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_for_any_number_of_threads(dtype):
    for name, call in families(dtype).items():
        expected = None
        for n in COUNTS:
            with cf.num_threads(n):
                found = bits(call())
            assert expected is None or found == expected, (name, n)
            expected = found


def test_same_bits_on_every_isa_for_any_number_of_threads(isa):
    for call in [
        c
        for name, c in families().items()
        if "300 300 300" in name or "softmax 700" in name or "losses 16385" in name
    ]:
        with cf.num_threads(1):
            expected = bits(call())
        with cf.num_threads(3):
            assert bits(call()) == expected


def in_threads(n, f):
    """Runs f(0) .. f(n - 1) in threads of their own, all at once; raises what they raised."""
    errors, start = [], threading.Barrier(n)

    def run(i):
        try:
            start.wait(60)
            f(i)
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
        assert not t.is_alive(), "hangs"
    if errors:
        raise errors[0]


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_eight_python_threads_at_once(threads):
    calls = list(families().values())[::3]
    expected = [bits(call()) for call in calls]
    cf.set_num_threads(threads)

    def work(i):
        for k in range(len(calls)):
            j = (k + i) % len(calls)
            assert bits(calls[j]()) == expected[j]

    in_threads(8, work)


def test_threads_may_change_their_number_and_release_memory_while_others_compute():
    x = draw(300, 300)
    expected = bits([cf.dense(x, x)])
    stop = threading.Event()

    def work(i):
        try:
            for k in range(150):
                if i == 0:
                    cf.set_num_threads(1 + k % 8)
                elif i == 1:
                    cf.release_memory()
                elif i == 2:
                    _kernels.select_isa(_kernels.isa())
                assert bits([cf.dense(x, x)]) == expected
        finally:
            stop.set()

    in_threads(5, work)


def test_one_buffer_read_by_many():
    x, w = draw(200, 100), draw(100, 50)
    expected = bits([cf.dense(x, w)])
    in_threads(
        8, lambda _: [bits([cf.dense(x, w)]) == expected or pytest.fail("other bits") for _ in range(30)]
    )


# -- the interpreter runs on while a kernel does --


def test_kernels_release_the_gil():
    """Another thread counts while a kernel runs. Were the GIL held, its end would find the count where its
    start left it: between the two there is no bytecode at which the interpreter could switch."""
    x = draw(2_000_000)
    out = np.empty_like(x)
    count, stop = [0], threading.Event()

    def run():
        while not stop.is_set():
            count[0] += 1
            time.sleep(0)  # gives up the GIL, since nobody will ask for it

    cf.set_num_threads(1)
    interval = sys.getswitchinterval()
    counter = threading.Thread(target=run, daemon=True)
    counter.start()
    try:
        sys.setswitchinterval(1000)  # nobody is asked to give up the GIL: it is given up or it is not
        advances = 0
        for _ in range(50):
            before = count[0]
            _kernels.tanh(x, out)
            advances += count[0] > before
            if advances:
                break
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        counter.join(60)
    assert advances > 0


def test_backend_belongs_to_the_thread():
    inside, leave = threading.Event(), threading.Event()
    seen = []

    def other():
        with cf.use_backend("reference"):
            seen.append(cf.get_backend())
            inside.set()
            leave.wait(60)
            seen.append(cf.get_backend())
        seen.append(cf.get_backend())

    t = threading.Thread(target=other, daemon=True)
    t.start()
    assert inside.wait(60)
    assert cf.get_backend() == "compiled"
    with cf.use_backend("compiled"):
        leave.set()
        t.join(60)
    assert seen == ["reference", "reference", "compiled"]
    with pytest.raises(RuntimeError), cf.use_backend("reference"):
        raise RuntimeError  # the choice ends with the block, whatever ends it
    assert cf.get_backend() == "compiled"


def test_backends_nest_and_names_are_checked():
    with cf.use_backend("reference"):
        with cf.use_backend("compiled"):
            assert cf.get_backend() == "compiled"
        cf.set_backend("compiled")
        assert cf.get_backend() == "reference"
    for junk in ("gpu", "", None, 3, b"reference", ["reference"]):
        for f in (cf.set_backend, lambda name: cf.use_backend(name).__enter__()):
            with pytest.raises((ValueError, TypeError), match="name"):
                f(junk)
    assert cf.get_backend() == "compiled"


# -- the number of threads --


def test_the_number_of_threads_is_checked():
    before = cf.get_num_threads()
    for junk in (0, -1, 257, 2**70):
        with pytest.raises(ValueError, match="n: "):
            cf.set_num_threads(junk)
    for junk in (1.0, "2", None, True, np.float64(2), [2], np.array([1, 2])):
        with pytest.raises(TypeError, match="n: "):
            cf.set_num_threads(junk)
    assert cf.get_num_threads() == before
    with pytest.raises(ValueError, match="n: "), cf.num_threads(0):
        pass
    with cf.num_threads(np.int64(3)):
        assert cf.get_num_threads() == 3
    assert cf.get_num_threads() == before
    with pytest.raises(RuntimeError), cf.num_threads(5):
        raise RuntimeError
    assert cf.get_num_threads() == before


def test_default_is_the_cpus_this_process_may_use():
    code = "import closedform as cf; print(cf.get_num_threads())"
    assert 1 <= int(run_python(code).stdout) <= (os.cpu_count() or 1)
    if hasattr(os, "sched_setaffinity"):
        one = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        assert run_python(one + code).stdout == "1\n"


@pytest.mark.parametrize("value", ["1", "3", "256"])
def test_environment(value):
    done = run_python("import closedform as cf; print(cf.get_num_threads())", CLOSEDFORM_NUM_THREADS=value)
    assert done.stdout == f"{value}\n", done.stderr


@pytest.mark.parametrize("value", ["0", "-1", "257", "two", "", " 2", "2.0", "1e1", "٣", "9" * 5000])
def test_environment_that_makes_no_sense(value):
    done = run_python("import closedform", CLOSEDFORM_NUM_THREADS=value)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("ImportError: CLOSEDFORM_NUM_THREADS: expected an integer in [1, 256]; got")
