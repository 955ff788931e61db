"""conv2d as a user meets it: bits, layouts, needs and outs, empty arrays, shapes, messages, memory."""

import itertools
import sys

import numpy as np
import pytest

import closedform as cf
from conftest import run_python, same_bits

DTYPES = [np.float32, np.float64]


# -- bits --


def bits_cases(dtype):
    rng = np.random.default_rng(1)
    for x, w, options in (
        ((16, 32, 32, 3), (3, 3, 3, 64), {"padding": 1}),  # a first layer: its dw is a long sum
        ((1, 60, 61, 16), (3, 3, 16, 24), {"padding": 1}),  # one image
        ((8, 28, 28, 64), (3, 3, 64, 48), {"padding": 1, "stride": 2}),
        ((4, 14, 14, 96), (1, 1, 96, 130), {}),
        ((4, 28, 28, 33), (5, 5, 1, 33), {"groups": 33, "padding": 2}),
        ((2, 30, 30, 12), (3, 3, 4, 18), {"groups": 3, "dilation": 2}),
    ):
        y = cf.conv2d_output_shape(x, w, **options)
        x, w, dy = (rng.normal(size=s).astype(dtype) for s in (x, w, y))
        yield x, w, dy, options


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_threads(isa, dtype):
    for x, w, dy, options in bits_cases(dtype):
        results = []
        for threads in (1, 2, 3, 5, 8):
            with cf.num_threads(threads):
                y = cf.conv2d(x, w, activation="relu", **options)
                results.append((y, *cf.conv2d_backward(dy, x, w, **options)))
        for other in results[1:]:
            assert all(same_bits(a, b) for a, b in zip(results[0], other, strict=True)), options


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_of_an_image_do_not_depend_on_its_batch(isa, dtype):
    for x, w, dy, options in bits_cases(dtype):
        y, dx = cf.conv2d(x, w, **options), cf.conv2d_backward(dy, x, w, needs=("x",), **options).dx
        for i in {0, len(x) // 2, len(x) - 1}:
            part = slice(i, i + 1)
            assert same_bits(cf.conv2d(x[part], w, **options), y[part])
            assert same_bits(cf.conv2d_backward(dy[part], x[part], w, needs=("x",), **options).dx, dx[part])


@pytest.mark.parametrize("algorithm", ["auto", "direct", "winograd2", "winograd4"])
def test_bits_of_an_algorithm(isa, algorithm):
    """They depend on neither threads nor batch."""
    rng = np.random.default_rng(2)
    for N, H, W, C, K in ((9, 4, 4, 40, 72), (5, 21, 10, 17, 33), (4, 30, 31, 64, 65)):
        x, dy = (rng.normal(size=(N, H, W, n)).astype(np.float32) for n in (C, K))
        w = rng.normal(size=(3, 3, C, K)).astype(np.float32)
        options = {"padding": 1, "algorithm": algorithm}

        def both(part, x=x, w=w, dy=dy, options=options):
            dx = cf.conv2d_backward(dy[part], x[part], w, needs=("x",), **options).dx
            return cf.conv2d(x[part], w, **options), dx

        y, dx = both(slice(None))
        for threads in (1, 2, 3, 5, 8):
            with cf.num_threads(threads):
                assert all(same_bits(a, b) for a, b in zip(both(slice(None)), (y, dx), strict=True))
        for i in (0, N // 2, N - 1):
            part = slice(i, i + 1)
            assert all(same_bits(a, b[part]) for a, b in zip(both(part), (y, dx), strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_fused_relu_is_relu(isa, dtype):
    for x, w, _, options in bits_cases(dtype):
        b = np.linspace(-3, 3, w.shape[3]).astype(dtype)
        want = cf.relu(cf.conv2d(x, w, b, **options))
        np.testing.assert_array_equal(cf.conv2d(x, w, b, activation="relu", **options), want)
    x, w = np.array([np.nan, -np.inf, np.inf, -1, 2], dtype).reshape(5, 1, 1, 1), np.ones((1, 1, 1, 1), dtype)
    y = cf.conv2d(x, w, activation="relu")
    np.testing.assert_array_equal(y.ravel(), np.array([np.nan, 0, np.inf, 0, 2], dtype))


def test_layouts(isa):
    """NCHW arrays viewed as NHWC, whole and in part, broadcast, backwards, with gaps: what a contiguous copy gives."""
    rng = np.random.default_rng(2)
    nchw = rng.normal(size=(2, 9, 7, 6)).astype(np.float32)
    wide = rng.normal(size=(4, 14, 6, 9)).astype(np.float32)
    oihw = rng.normal(size=(5, 9, 3, 3)).astype(np.float32)
    images = (
        nchw.transpose(0, 2, 3, 1),
        rng.normal(size=(3, 12, 9, 16)).astype(np.float32).transpose(0, 2, 3, 1)[::-2, :, :, 1:10],
        rng.normal(size=(2, 9, 9, 16)).astype(np.float32).transpose(0, 2, 3, 1)[:, 1:],
        nchw[:, ::-1].transpose(0, 2, 3, 1),
        nchw.transpose(0, 2, 3, 1)[:, :, 1:],
        np.broadcast_to(nchw[:1, :, :, :1].transpose(0, 2, 3, 1), (2, 7, 6, 9)),
        wide[::2, ::-2, ::-1],
        np.asfortranarray(wide[:2, :7]),
    )
    w = oihw.transpose(2, 3, 1, 0)
    for x in images:
        copy = np.ascontiguousarray(x)
        y = cf.conv2d(x, w, padding=1)
        assert same_bits(y, cf.conv2d(copy, np.ascontiguousarray(w), padding=1))
        dy = np.asfortranarray(y)
        got, want = cf.conv2d_backward(dy, x, w, padding=1), cf.conv2d_backward(y, copy, w, padding=1)
        assert all(same_bits(a, b) for a, b in zip(got, want, strict=True))


# -- what is asked for, and where it goes --


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("needs", [c for n in range(4) for c in itertools.combinations("xwb", n)])
def test_needs(backend, needs):
    rng = np.random.default_rng(3)
    x, w, dy = (rng.normal(size=s) for s in ((2, 5, 6, 4), (3, 3, 2, 6), (2, 3, 3, 6)))
    options = {"stride": 2, "padding": 1, "groups": 2}
    with cf.use_backend(backend):
        everything = cf.conv2d_backward(dy, x, w, **options)
        some = cf.conv2d_backward(dy, x, w, needs=iter(needs), **options)
    for name, g, full in zip("xwb", some, everything, strict=True):
        if name in needs:
            np.testing.assert_array_equal(g, full)
        else:
            assert g is None


@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_outs_of_the_backward(backend):
    rng = np.random.default_rng(4)
    x, w = rng.normal(size=(2, 5, 6, 3)).astype(np.float32), rng.normal(size=(3, 3, 3, 7)).astype(np.float32)
    dy = rng.normal(size=(2, 5, 6, 7)).astype(np.float32)
    with cf.use_backend(backend):
        expected = cf.conv2d_backward(dy, x, w, padding=1)
        out = (np.full((3, 6, 5, 2), np.nan, np.float32).T, np.full_like(w, np.nan), None)
        got = cf.conv2d_backward(dy, x, w, padding=1, out=out)
        assert got.dx is out[0]
        assert got.dw is out[1]
        for g, e in zip(got, expected, strict=True):
            np.testing.assert_array_equal(g, e)
        with pytest.raises(ValueError, match=r"^out dw: expected memory of its own"):
            cf.conv2d_backward(dy, x, w, padding=1, out=(None, w, None))


def test_empty():
    x, w, b = np.ones((2, 5, 6, 3)), np.ones((3, 3, 3, 4)), np.arange(4.0)
    assert cf.conv2d(x[:0], w, b).shape == (0, 3, 4, 4)
    assert cf.conv2d(x, w[..., :0], b[:0]).shape == (2, 3, 4, 0)
    assert cf.conv2d(x[:, :2], w, b).shape == (2, 0, 4, 4)  # no window fits
    np.testing.assert_array_equal(cf.conv2d(x[..., :0], w[:, :, :0], b), np.broadcast_to(b, (2, 3, 4, 4)))
    np.testing.assert_array_equal(
        cf.conv2d(x[:, :0], w, -b, padding=1, activation="relu"), np.zeros((2, 0, 6, 4))
    )
    padding_only = cf.conv2d(x[:, :0], w, b, padding=2)
    np.testing.assert_array_equal(padding_only, np.broadcast_to(b, (2, 2, 8, 4)))
    dx, dw, db = cf.conv2d_backward(np.ones((2, 2, 8, 4)), x[:, :0], w, padding=2)
    assert dx.shape == (2, 0, 6, 3)
    np.testing.assert_array_equal(dw, np.zeros_like(w))
    np.testing.assert_array_equal(db, np.full(4, 32.0))
    dx, dw, db = cf.conv2d_backward(np.ones((2, 0, 4, 4)), x[:, :2], w)
    for g, shape in ((dx, (2, 2, 6, 3)), (dw, w.shape), (db, (4,))):
        np.testing.assert_array_equal(g, np.zeros(shape))


def test_output_shape():
    shape = cf.conv2d_output_shape
    assert shape((8, 224, 224, 3), (7, 7, 3, 64), stride=2, padding=3) == (8, 112, 112, 64)
    assert shape((1, 28, 28, 1), (5, 5, 1, 6)) == (1, 24, 24, 6)
    assert shape((1, 10, 11, 4), (3, 4, 2, 6), padding="same", groups=2) == (1, 10, 11, 6)
    assert shape([1, 10, 11, 4], [3, 4, 4, 6], padding="valid", dilation=(2, 3)) == (1, 6, 2, 6)
    assert shape((0, 2, 9, 4), (3, 3, 4, 6), padding=((0, 1), (2, 0)), stride=(3, 2)) == (0, 1, 5, 6)
    assert shape((5, 2, 2, 1), (3, 3, 1, 1)) == (5, 0, 0, 1)
    for wrong, argument in (
        (lambda: shape((1, 2, 2, 1), (4, 4, 1, 1)), "x_shape"),
        (lambda: shape((1, 2, 2), (3, 3, 1, 1)), "x_shape"),
        (lambda: shape((1, -2, 2, 1), (3, 3, 1, 1)), "x_shape"),
        (lambda: shape((1, 2, 2, 1), (3, 3, 2, 1)), "w_shape"),
        (lambda: shape((1, 2, 2, 1), (0, 3, 1, 1)), "w_shape"),
    ):
        with pytest.raises(ValueError, match=rf"^{argument}: expected .*; got "):
            wrong()
    for junk in (5, None, "shape", (1.0, 2, 3, 4), (True, 2, 3, 4)):
        with pytest.raises(TypeError, match=r"^x_shape: expected "):
            shape(junk, (3, 3, 1, 1))


def test_a_message_shows_both_shapes():
    with pytest.raises(ValueError, match=r"^x: expected .*\(2, 3, 7, 4\).*w \(5, 5, 4, 6\).*-1 by 3$"):
        cf.conv2d(np.ones((2, 3, 7, 4)), np.ones((5, 5, 4, 6)))
    with pytest.raises(ValueError, match=r"^w: expected .*\(2, 3, 7, 4\).*groups is 2; got \(3, 3, 4, 6\)$"):
        cf.conv2d(np.ones((2, 3, 7, 4)), np.ones((3, 3, 4, 6)), groups=2)


# -- memory --

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

FLAT = """
import os, random
import numpy as np
import closedform as cf

rng, page = random.Random(0), os.sysconf("SC_PAGESIZE")
pool = np.random.default_rng(0).random(200_000)

def rss():
    cf.release_memory()
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * page

def array(*shape):
    return pool[: int(np.prod(shape))].reshape(shape).astype(rng.choice([np.float32, np.float64]))

def call():
    groups = rng.choice([1, 1, 1, 2, 4])
    x = (rng.randint(0, 3), rng.randint(1, 30), rng.randint(1, 30), groups * rng.randint(1, 12))
    w = (rng.randint(1, 5), rng.randint(1, 5), x[3] // groups, groups * rng.randint(1, 12))
    options = {"stride": rng.randint(1, 3), "padding": rng.randint(0, 4), "dilation": rng.randint(1, 3)}
    options["groups"] = groups
    try:
        y = cf.conv2d(array(*x), array(*w), array(w[3]), **options)
        cf.conv2d_backward(y, array(*x), array(*w), **options)
    except ValueError as e:
        assert "room for the window" in str(e)

for _ in range(300):
    call()
before = rss()
for _ in range(1000):
    call()
print(rss() - before)
"""


@linux
def test_memory_stays_flat_over_a_thousand_shapes():
    done = run_python(FLAT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 3 << 20


SCRATCH = """
import numpy as np, closedform as cf

def status(field):
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith(field))

cf.set_num_threads(2)
x, w = np.ones((2, 512, 512, 8), np.float32), np.ones((5, 5, 8, 8), np.float32)  # 16 MiB; 400 MiB as columns
dy = np.ones_like(x)
for call in (lambda: cf.conv2d(x, w, padding=2), lambda: cf.conv2d_backward(dy, x, w, padding=2)):
    cf.release_memory()
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")
    before = status("VmRSS:")
    result = call()
    print(status("VmHWM:") - before - x.nbytes)
    del result
"""


@linux
def test_no_matrix_of_columns_in_memory():
    """Scratch is a few strips a thread: less than x, whatever the window."""
    done = run_python(SCRATCH)
    if "PermissionError" in done.stderr:
        pytest.skip("cannot reset the peak of memory here")
    assert done.returncode == 0, done.stderr
    assert max(map(int, done.stdout.split())) <= 8 << 20
