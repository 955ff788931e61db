"""Fork and exit: in processes of their own, where a hang ends with a timeout."""

import os

import pytest

from conftest import run_python

can_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

FORK = """
import os, signal, sys, threading
import numpy as np
import closedform as cf

rng = np.random.default_rng(0)
x, w, z = (rng.normal(size=s).astype(np.float32) for s in ((300, 300), (300, 300), (200, 1000)))
big = np.zeros((600, 600), np.float32)  # its results come from the recycling pool

def work():
    return [np.asarray(a).tobytes() for a in (
        cf.dense(x, w), *cf.dense_backward(x, x, w), cf.softmax(z), cf.tanh(z), cf.squared_error(x, w),
        cf.cross_entropy(z, np.arange(200)), cf.relu(big))]

def child_is_right():
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)  # a hang is a failure
        right = work() == expected
        cf.release_memory()
        cf.set_num_threads(3)
        os._exit(0 if right and work() == expected else 1)
    return os.waitpid(pid, 0)[1] == 0
"""


@can_fork
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_fork(threads):
    code = (
        FORK
        + f"""
cf.set_num_threads({threads})
expected = work()
for _ in range(5):
    assert child_is_right()
    assert work() == expected
pid = os.fork()  # and a child of a child
if pid == 0:
    signal.alarm(30)
    os._exit(0 if work() == expected and child_is_right() and work() == expected else 1)
assert os.waitpid(pid, 0)[1] == 0
print("done")
"""
    )
    done = run_python(code, "-W", "ignore")
    assert done.stdout == "done\n", done.stderr


@can_fork
def test_fork_before_the_first_kernel():
    code = (
        FORK
        + """
expected = None
pid = os.fork()
if pid == 0:
    signal.alarm(30)
    cf.set_num_threads(4)
    work()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
expected = work()
assert child_is_right()
print("done")
"""
    )
    done = run_python(code, "-W", "ignore")
    assert done.stdout == "done\n", done.stderr


@can_fork
def test_fork_while_other_threads_are_inside_kernels():
    code = (
        FORK
        + """
cf.set_num_threads(3)
expected = work()
stop = threading.Event()
wrong = []

def busy():
    while not stop.is_set():
        wrong.extend([1] if work() != expected else [])
        cf.release_memory()

others = [threading.Thread(target=busy, daemon=True) for _ in range(2)]
for t in others: t.start()
for _ in range(10):
    assert child_is_right()
stop.set()
for t in others: t.join(60)
assert not wrong and not any(t.is_alive() for t in others)
assert work() == expected
print("done")
"""
    )
    done = run_python(code, "-W", "ignore")
    assert done.stdout == "done\n", done.stderr


# -- leaving --


def test_leaving_with_threads_awake_is_quiet():
    code = """
import numpy as np, closedform as cf
cf.set_num_threads(8); x = np.ones((500, 500)); cf.dense(x, x); print("done")
"""
    for _ in range(3):
        done = run_python(code)
        assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_daemon_threads_inside_kernels_at_exit():
    code = """
import threading, numpy as np, closedform as cf
x = np.ones((700, 700)); started = threading.Event()
def busy():
    while True:
        cf.dense(x, x); started.set()
for _ in range(3): threading.Thread(target=busy, daemon=True).start()
started.wait(60); print("done")
"""
    for _ in range(3):
        done = run_python(code)
        assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
