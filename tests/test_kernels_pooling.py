"""Pooling: every window against loops, which maximum wins, bits, indices that are not its own."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import closedform as cf
from conftest import same_bits

DTYPES = [np.float32, np.float64]
CHANNELS = (1, 3, 7, 8, 9, 17, 64, 65)


def loops(x, dy_of, size, stride, padding):
    """All four ops, pixel by pixel: y and argmax of max pooling, its dx, y of average pooling, its dx."""
    (kh, kw), (sh, sw), ((top, bottom), (left, right)) = size, stride, padding
    N, H, W, C = x.shape
    rows, columns = (H + top + bottom - kh) // sh + 1, (W + left + right - kw) // sw + 1
    y, average = np.empty((2, N, rows, columns, C), x.dtype)
    argmax = np.empty(y.shape, np.int64)
    dy = dy_of(y.shape)
    dx, average_dx = np.zeros((2, *x.shape))
    for n, i, j, c in np.ndindex(y.shape):
        taps = itertools.product(
            range(i * sh - top, i * sh - top + kh), range(j * sw - left, j * sw - left + kw)
        )
        pixels = [(h, w) for h, w in taps if 0 <= h < H and 0 <= w < W]
        values = np.array([x[n, h, w, c] for h, w in pixels])
        best = int(np.argmax(values))  # the first NaN, or the first maximum
        h, w = pixels[best]
        y[n, i, j, c], argmax[n, i, j, c] = values[best], h * W + w
        dx[n, h, w, c] += dy[n, i, j, c]
        with np.errstate(invalid="ignore"):
            average[n, i, j, c] = values.sum(dtype=np.float64) / (kh * kw)
        for h, w in pixels:
            average_dx[n, h, w, c] += dy[n, i, j, c] / (kh * kw)
    return dy, y, argmax, dx, average, average_dx


def check(x, size, stride, padding):
    rng = np.random.default_rng(1)

    def dy_of(shape):
        return rng.normal(size=shape).astype(x.dtype)

    dy, y, argmax, dx, average, average_dx = loops(x, dy_of, size, stride, padding)
    options = {"stride": stride, "padding": padding}
    trace = cf.max_pool2d(x, size, **options)
    np.testing.assert_array_equal(trace.y, y, strict=True)
    np.testing.assert_array_equal(trace.argmax, argmax, strict=True)
    eps = np.finfo(x.dtype).eps
    assert np.max(np.abs(cf.max_pool2d_backward(dy, trace) - dx)) <= 16 * eps * np.abs(dy).max()
    found = cf.avg_pool2d_backward(dy, x.shape, size, **options)
    assert found.dtype == x.dtype
    assert np.max(np.abs(found - average_dx)) <= 16 * eps * np.abs(dy).max()
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(cf.avg_pool2d(x, size, **options), average, rtol=16 * eps, atol=16 * eps)


@pytest.mark.parametrize("C", CHANNELS)
@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [
        ((2, 2), (2, 2), ((0, 0), (0, 0))),
        ((3, 3), (2, 2), ((1, 1), (1, 1))),
        ((3, 2), (1, 3), ((2, 1), (0, 1))),
        ((1, 4), (3, 1), ((0, 0), (3, 2))),
    ],
)
def test_windows(isa, C, size, stride, padding):
    rng = np.random.default_rng(C)
    for dtype in DTYPES:
        x = rng.choice([-np.inf, -2, -1, 0.5, 1], (2, 6, 7, C), p=[0.4, 0.15, 0.15, 0.15, 0.15]).astype(dtype)
        x[rng.random(x.shape) < 0.04] = np.nan
        check(x, size, stride, padding)
        check(rng.normal(size=(2, 6, 7, C)).astype(dtype), size, stride, padding)


@settings(max_examples=200)
@given(st.data())
def test_any_window(data):
    def pair(low, high, label):
        return data.draw(st.tuples(st.integers(low, high), st.integers(low, high)), label=label)

    size, stride = pair(1, 5, "size"), pair(1, 4, "stride")
    padding = tuple(pair(0, k - 1, "padding") for k in size)
    N, C = data.draw(st.integers(1, 2), label="N"), data.draw(st.integers(1, 20), label="C")
    H, W = (
        data.draw(st.integers(max(1, k - sum(p)), 9), label="pixels")
        for k, p in zip(size, padding, strict=True)
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 99), label="seed"))
    x = rng.choice([-np.inf, -1, 0, 2, np.nan], (N, H, W, C), p=[0.3, 0.3, 0.2, 0.1, 0.1])
    check(x.astype(data.draw(st.sampled_from(DTYPES), label="dtype")), size, stride, padding)


@pytest.mark.parametrize("C", [1, 3, 20])
def test_which_maximum_wins(isa, C):
    def argmax(image, size, **options):
        x = np.broadcast_to(np.array(image, np.float32)[None, :, :, None], (1, *np.shape(image), C))
        trace = cf.max_pool2d(x, size, **options)
        assert (trace.argmax == trace.argmax[..., :1]).all()
        return trace.argmax[0, :, :, 0].tolist()

    inf, nan = np.inf, np.nan
    assert argmax([[1, 2], [2, 2]], 2) == [[1]]  # the first of equals
    assert argmax([[0, -0.0], [-0.0, 0]], 2) == [[0]]  # zeros are equal
    assert argmax([[3, nan], [inf, nan]], 2) == [[1]]  # NaN, and the first of them
    assert argmax([[-inf, -inf], [-inf, -inf]], 2) == [[0]]
    assert argmax([[-inf, -inf], [-inf, -inf]], 2, padding=1, stride=1)[1:] == [[0, 0, 1], [2, 2, 3]]
    assert argmax([[-5, -inf], [-7, -inf]], 2, padding=1) == [[0, 1], [2, 3]]  # padding is less than anything


def test_size_alone_leaves_the_rest_out():
    trace = cf.max_pool2d(np.arange(25.0).reshape(1, 5, 5, 1), 2)
    assert trace.y[0, :, :, 0].tolist() == [[6, 8], [16, 18]]
    assert trace.x_shape == (1, 5, 5, 1)
    dx = cf.max_pool2d_backward(np.ones((1, 2, 2, 1)), trace)
    assert dx.shape == trace.x_shape
    assert dx[0, :, :, 0].nonzero()[0].tolist() == [1, 1, 3, 3]


def test_padding_counts_in_the_mean():
    y = cf.avg_pool2d(np.ones((1, 2, 2, 1)), 2, padding=1)
    assert y[0, :, :, 0].tolist() == [[0.25, 0.25], [0.25, 0.25]]


@pytest.mark.parametrize("C", [1, 6, 40])
def test_bits_of_an_image_do_not_depend_on_its_batch_nor_threads(isa, C):
    rng = np.random.default_rng(C)
    x = rng.normal(size=(70, 30, 31, C)).astype(np.float32)
    options = {"size": (3, 2), "stride": 2, "padding": 1}

    def run(x, threads):
        with cf.num_threads(threads):
            trace = cf.max_pool2d(x, **options)
            average = cf.avg_pool2d(x, **options)
            back = cf.max_pool2d_backward(average, trace), cf.avg_pool2d_backward(trace.y, x.shape, **options)
            return trace.y, trace.argmax, average, *back

    whole = run(x, 1)
    for threads in (2, 3, 8):
        assert all(same_bits(a, b) for a, b in zip(whole, run(x, threads), strict=True))
    for part in (slice(0, 1), slice(33, 36), slice(69, 70)):
        assert all(same_bits(a[part], b) for a, b in zip(whole, run(x[part], 2), strict=True))


@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_indices_that_are_no_pixels_are_refused(backend):
    trace = cf.max_pool2d(np.random.default_rng(0).normal(size=(2, 6, 6, 70)), 2)
    dy = np.ones(trace.y.shape)
    with cf.use_backend(backend):
        for place, wrong in ((0, -1), (-1, 36), (777, 2**62), (500, -(2**63))):
            argmax = trace.argmax.copy()
            argmax.flat[place] = wrong
            with pytest.raises(
                ValueError, match=rf"^trace.argmax: expected numbers of pixels.*; got {wrong}$"
            ):
                cf.max_pool2d_backward(dy, trace._replace(argmax=argmax))


def test_layout_of_the_indices_does_not_matter():
    trace = cf.max_pool2d(np.random.default_rng(0).normal(size=(2, 9, 8, 5)), 3, stride=2)
    dy = np.random.default_rng(1).normal(size=trace.y.shape)
    want = cf.max_pool2d_backward(dy, trace)
    for argmax in (np.asfortranarray(trace.argmax), np.repeat(trace.argmax, 2, axis=3)[..., ::2]):
        assert same_bits(cf.max_pool2d_backward(dy, trace._replace(argmax=argmax)), want)


def test_views():
    """An NCHW array seen as NHWC, broadcast, backwards: what the contiguous copy gives."""
    nchw = np.random.default_rng(2).normal(size=(2, 9, 7, 6)).astype(np.float32)
    for x in (
        nchw.transpose(0, 2, 3, 1),
        np.broadcast_to(nchw[:1, :, :, :1].transpose(0, 2, 3, 1), (2, 7, 6, 9)),
        nchw[:, ::-1, ::2],
    ):
        copy = np.ascontiguousarray(x)
        for a, b in zip(cf.max_pool2d(x, 2), cf.max_pool2d(copy, 2), strict=True):
            np.testing.assert_array_equal(a, b)
        assert same_bits(cf.avg_pool2d(x, 3, stride=1), cf.avg_pool2d(copy, 3, stride=1))
