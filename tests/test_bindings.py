"""Past the wrappers: the compiled module refuses what would read or write outside an array."""

from conftest import run_python

DIRECT = """
import faulthandler
faulthandler.enable()
import numpy as np
from closedform import _kernels as k

f = np.zeros
junk = [None, 3, -1, 2**70, "x", b"x", object(), f(3), f((2, 3)), f((3, 2), "f4"), f((0, 5)), f((5, 0)),
        f((2, 3), int), f(()), f((2, 3), complex), f((2, 3), object), f((2, 3), ">f8"), np.full((2, 3), None),
        [[1.0], [2.0, 3.0]], True, 1.5]
calls = {
    "dense": 4, "dense_backward": 7, "relu": 4, "relu_backward": 5, "sigmoid": 2, "gelu_backward": 3,
    "softmax": 3, "softmax_backward": 4, "logsumexp": 2, "log_softmax_backward": 3, "softmax_jacobian": 2,
    "sgd_update": 7, "batchnorm": 5, "batchnorm_backward": 6, "batchnorm_inference": 7,
    "conv2d": 9, "conv2d_backward": 11,
    "select_isa": 1, "copy": 2, "first_outside": 3, "erf": 2,
}
import random
rng = random.Random(0)
ended = {"raised": 0, "returned": 0}
for name, n in calls.items():
    for _ in range(600):
        arguments = [rng.choice(junk) for _ in range(n)]
        try:
            getattr(k, name)(*arguments)
            ended["returned"] += 1
        except Exception:
            ended["raised"] += 1
        except BaseException:
            raise SystemExit(f"{name} {arguments}")
x, w, y, h = f((2, 4, 5, 2)), f((3, 3, 1, 4)), f((2, 2, 3, 4)), (4, 2, 3, 1, 1, 0)
v = (5, 3, 3, 1, 1, 0)
junk += [x, w, y, h, v, (4, 2, 3), (4, 2**40, 3, 1, 1, 0), (4, 2, 3, 1, 1, -1), (4, 2, 3, 0, 1, 0), (5, 3, 3, 1, 0, 0)]
p, q = f((2, 4, 5, 3)), f((2, 2, 3, 3))
rows, columns = h, v
indices, beyond = f(q.shape, np.int64), np.full(q.shape, 20)
junk += [p, q, rows, columns, indices, beyond]
junk += [(4, 3, 3, 1, 1, 0), (4, 2, 3, 2, 1, 3), (4, 2**30, 3, 1, 1, 0), (4, 2, 3, 1, 2, 0)]
for name in ("conv2d", "conv2d_backward", "max_pool2d", "max_pool2d_backward", "avg_pool2d", "avg_pool2d_backward",
             "cross_entropy", "adam_update"):
    n = {"conv2d": 9, "conv2d_backward": 11, "cross_entropy": 9, "adam_update": 12}.get(name, 4)
    good = {"conv2d": [x, w, f(4), h, v, 2, 0, False, None],
            "conv2d_backward": [y, x, w, h, v, 2, 0, True, True, True, None],
            "max_pool2d": [p, rows, columns, None], "max_pool2d_backward": [q, indices, p.shape, None],
            "avg_pool2d": [p, rows, columns, None], "avg_pool2d_backward": [q, rows, columns, None],
            "cross_entropy": [f((2, 3)), f(2, int), None, 0.0, None, 1.0, False, True, None],
            "adam_update": [f(3), f(3), f(3), f(3), 0.1, 0.9, 0.9, 0.1, 0.1, False, 0.1, 0.1]}[name]
    for _ in range(1500):
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
    lambda: k.conv2d(x, w, f(3), h, v, 2, 0, False, None),
    lambda: k.conv2d(x, w, None, v, h, 2, 0, False, None),
    lambda: k.conv2d(x, w, None, h, v, 1, 0, False, None),
    lambda: k.conv2d(x, w, None, h, v, 0, 0, False, None),
    lambda: k.conv2d(x, w, None, h, v, 2, 4, False, None),
    lambda: k.conv2d(x, w, None, h, v, 2, -1, False, None),
    lambda: k.conv2d(x, w, None, h, v[:5], 2, 0, False, None),
    lambda: k.conv2d(x, w, None, h, (5, 3, 3, 1, 1, -1), 2, 0, False, None),
    lambda: k.conv2d(x, w, None, h, (5, 3, 2, 1, 1, 0), 2, 0, False, None),
    lambda: k.conv2d(x, w, None, h, v, 2, 0, False, f((2, 4, 5, 4))),
    lambda: k.conv2d(x, f((3, 3, 4)), None, h, v, 2, 0, False, None),
    lambda: k.conv2d_backward(x, x, w, h, v, 2, 0, True, True, True, None),
    lambda: k.conv2d_backward(y, x, w, h, v, 2, 0, True, True, True, (None, w[0], None)),
    lambda: k.batchnorm(f((2, 3)), f(3), f(4), 0.1, None),
    lambda: k.batchnorm(f((2, 3)), f(3), f(3), 0.1, f((3, 2))),
    lambda: k.batchnorm(f(()), f(1), f(1), 0.1, None),
    lambda: k.batchnorm_backward(f((2, 3)), f((2, 4)), f(4), f(4), f(4), None),
    lambda: k.batchnorm_backward(f((2, 3)), f((2, 3)), f(3), f(2), f(3), None),
    lambda: k.batchnorm_backward(f((2, 3)), f((2, 3)), f(3), f(3), f(3), (None, f(2), None)),
    lambda: k.batchnorm_inference(f((2, 3)), f(3), f(3), f(3), f(2), 0.1, None),
    lambda: k.max_pool2d(p, columns, rows, None),
    lambda: k.max_pool2d(p, rows, (5, 4, 3, 1, 1, 0), f((2, 2, 3, 3))),
    lambda: k.max_pool2d(p, rows, (5, 9, 3, 1, 1, 0), None),
    lambda: k.max_pool2d(p, rows, (5, 3, 3, 1, 1, 3), None),
    lambda: k.max_pool2d(p, rows, (5, 3, 3, 1, 2, 0), None),
    lambda: k.max_pool2d(p[0], rows, columns, None),
    lambda: k.max_pool2d_backward(q, indices[1:], p.shape, None),
    lambda: k.max_pool2d_backward(q, indices, (3, 4, 5, 3), None),
    lambda: k.max_pool2d_backward(q, indices, (2, 4, -5, 3), None),
    lambda: k.max_pool2d_backward(q, indices, p.shape, q),
    lambda: k.avg_pool2d(p, rows, (5, 9, 3, 1, 1, 0), None),
    lambda: k.avg_pool2d_backward(p, rows, columns, None),
    lambda: k.avg_pool2d_backward(q, rows, columns, q),
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
assert k.max_pool2d_backward(q, beyond, p.shape, None) is None
assert ended["raised"] > 1000 and ended["returned"] > 100, ended
print("alive")
"""


def test_direct_calls_of_the_compiled_module():
    done = run_python(DIRECT, "-W", "ignore")
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stdout + done.stderr[-3000:]
