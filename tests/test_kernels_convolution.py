"""conv2d and conv2d_backward over the whole parameter space: against loops, PyTorch's values and the float64 twin."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import closedform as cf
from closedform.catalogue import Call, error_in_eps, find, outputs
from conftest import GOLDEN

DTYPES = [np.float32, np.float64]
CHANNELS = [1, 3, 7, 8, 9, 17, 64, 65]
CONV2D, BACKWARD = find(["conv2d"])[0], find(["conv2d_backward"])[0]


def integers(rng, *shape, dtype=np.float64):
    """Small enough that every sum is exact, in float32 too, and in any order."""
    return rng.integers(-4, 5, shape).astype(dtype)


# -- the definition, by loops over windows: it shares no line with the library --


def loops(x, w, b, dy, stride, pads, dilation, groups):
    """y, dx, dw and db, one window at a time; pads ((top, bottom), (left, right))."""
    (N, H, W, _), (kh, kw, Cg, K) = x.shape, w.shape
    xp = np.pad(x, ((0, 0), *pads, (0, 0)))
    y, dxp, dw = np.zeros(dy.shape), np.zeros(xp.shape), np.zeros(w.shape)
    for g, i, j in itertools.product(range(groups), range(dy.shape[1]), range(dy.shape[2])):
        channels, filters = slice(g * Cg, (g + 1) * Cg), slice(g * K // groups, (g + 1) * K // groups)
        rows = [i * stride[0] + r * dilation[0] for r in range(kh)]
        columns = [j * stride[1] + s * dilation[1] for s in range(kw)]
        window = np.ix_(range(N), rows, columns, range(channels.start, channels.stop))
        y[:, i, j, filters] = np.tensordot(xp[window], w[..., filters], 3)
        dxp[window] += np.tensordot(dy[:, i, j, filters], w[..., filters], [1, 3])
        dw[..., filters] += np.tensordot(xp[window], dy[:, i, j, filters], [0, 0])
    (top, _), (left, _) = pads
    return y + b, dxp[:, top : top + H, left : left + W], dw, dy.sum(axis=(0, 1, 2))


def check_exact(x, w, *, dtype=np.float64, stride=(1, 1), pads=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
    """The library equals the loops, bit by bit, on integers. x, w: shapes, w with its C / groups."""
    rng = np.random.default_rng([*x, *w])
    out = [
        (n + sum(p) - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(x[1:3], pads, dilation, w[:2], stride, strict=True)
    ]
    y_shape = (x[0], *out, w[3])
    x, w, b, dy = (integers(rng, *shape, dtype=dtype) for shape in (x, w, w[3:], y_shape))
    want = loops(x, w, b, dy, stride, pads, dilation, groups)
    options = {"stride": stride, "padding": pads, "dilation": dilation, "groups": groups}
    assert cf.conv2d_output_shape(x.shape, w.shape, **options) == y_shape
    got = (cf.conv2d(x, w, b, **options), *cf.conv2d_backward(dy, x, w, **options))
    for name, g, e in zip(("y", "dx", "dw", "db"), got, want, strict=True):
        assert g.dtype == dtype
        np.testing.assert_array_equal(g, e, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("C", CHANNELS)
def test_every_pair_of_channels(isa, dtype, C):
    for K in CHANNELS:
        check_exact((2, 5, 6, C), (3, 3, C, K), dtype=dtype, pads=((1, 1), (1, 1)))
        check_exact((1, 6, 5, C), (3, 2, C, K), dtype=dtype, stride=(2, 2), pads=((1, 0), (0, 1)))
        check_exact((2, 4, 5, C), (1, 1, C, K), dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("C", CHANNELS)
def test_depthwise(isa, dtype, C):
    for multiplier, stride in ((1, 1), (1, 2), (2, 1), (3, 2)):
        options = {"stride": (stride, stride), "pads": ((1, 1), (1, 1)), "groups": C, "dtype": dtype}
        check_exact((2, 5, 7, C), (3, 3, 1, C * multiplier), **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", [2, 3, 8])
def test_groups(isa, dtype, groups):
    for C, K in itertools.product((1, 3, 8, 17), repeat=2):
        options = {"groups": groups, "dtype": dtype, "pads": ((0, 1), (1, 1)), "stride": (1, 2)}
        check_exact((2, 5, 6, groups * C), (3, 3, C, groups * K), **options)


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 1), (1, 4), (2, 5)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 2), (1, 3), (4, 1)])
@pytest.mark.parametrize("taps", [(1, 1), (3, 3), (2, 4), (5, 1), (1, 6), (7, 7)])
def test_every_window(isa, stride, dilation, taps):
    reach = [d * (k - 1) for d, k in zip(dilation, taps, strict=True)]
    same = tuple((n // 2, n - n // 2) for n in reach)
    lopsided = ((reach[0] + 2, 0), (1, reach[1]))
    for pads, (H, W) in itertools.product(
        (same, lopsided), ((1, 2), (6, 5), (reach[0] + 1, reach[1] + 3), (13, 11))
    ):
        check_exact((1, H, W, 3), (*taps, 3, 5), stride=stride, dilation=dilation, pads=pads)


@pytest.mark.parametrize("width", range(1, 20))
def test_every_width(isa, width):
    """The last tile of a row may hold any number of pixels."""
    for C, K in ((3, 16), (8, 33)):
        check_exact((2, 3, width, C), (3, 3, C, K), dtype=np.float32, pads=((1, 1), (1, 1)))
        check_exact((2, 5, width, C), (3, 3, C, K), dtype=np.float32, pads=((0, 0), (2, 2)), stride=(2, 2))


def test_many_pixels_and_long_sums(isa):
    """More than one strip, block and panel of everything."""
    check_exact((3, 70, 65, 5), (3, 3, 5, 7), pads=((1, 1), (1, 1)))
    check_exact((1, 9, 8, 300), (3, 3, 300, 20), pads=((1, 1), (1, 1)))
    check_exact((2, 6, 9, 20), (3, 3, 20, 300), stride=(2, 2))
    check_exact((1, 40, 300, 3), (7, 7, 3, 9), stride=(2, 2), pads=((3, 3), (3, 3)))
    check_exact((70, 4, 4, 6), (4, 4, 6, 10))


# -- PyTorch's values, and the float64 twin --


def golden_cases():
    with np.load(GOLDEN / "conv2d.npz") as arrays:
        names = sorted({name.split("/")[0] for name in arrays})
        return [{k: arrays[f"{i}/{k}"] for k in GOLDEN_NAMES} for i in names]


GOLDEN_NAMES = ("x", "w", "b", "dy", "stride", "padding", "dilation", "groups")
GOLDEN_NAMES += ("out.y", "grad.x", "grad.w", "grad.b")


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_golden(isa, backend, dtype):
    for case in golden_cases():
        x, w, b, dy = (case[name].astype(dtype) for name in ("x", "w", "b", "dy"))
        options = {name: case[name] for name in ("stride", "padding", "dilation")}
        options["groups"] = int(case["groups"])
        with cf.use_backend(backend):
            got = (cf.conv2d(x, w, b, **options), *cf.conv2d_backward(dy, x, w, **options))
        sizes = (cf.conv2d(abs(x), abs(w), abs(b), **options),)
        sizes += cf.conv2d_backward(abs(dy), abs(x), abs(w), **options)
        for g, name, size in zip(got, ("out.y", "grad.x", "grad.w", "grad.b"), sizes, strict=True):
            assert g.shape == case[name].shape
            assert np.all(abs(g - case[name]) <= 8 * np.finfo(dtype).eps * size), name


@st.composite
def convolutions(draw):
    """Arguments of conv2d, of any shape and with any options."""
    side = st.integers(1, 12)
    taps = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    options = {
        "stride": draw(st.one_of(st.integers(1, 4), st.tuples(st.integers(1, 4), st.integers(1, 4)))),
        "dilation": draw(st.one_of(st.integers(1, 3), st.tuples(st.integers(1, 3), st.integers(1, 3)))),
        "groups": draw(st.sampled_from([1, 1, 1, 2, 3, 5])),
    }
    pad = st.integers(0, 5)
    forms = [pad, st.tuples(pad, pad), st.tuples(st.tuples(pad, pad), st.tuples(pad, pad)), st.just("valid")]
    if options["stride"] in (1, (1, 1)):
        forms.append(st.just("same"))
    options["padding"] = draw(st.one_of(forms))
    Cg, Kg = draw(st.sampled_from(CHANNELS)), draw(st.sampled_from(CHANNELS))
    x = (draw(st.integers(1, 3)), draw(side), draw(side), Cg * options["groups"])
    w = (*taps, Cg, Kg * options["groups"])
    return x, w, options, draw(st.booleans())


@pytest.mark.parametrize("dtype", DTYPES)
@given(case=convolutions())
@settings(max_examples=150)
def test_any_convolution_equals_the_twin(dtype, case):
    x_shape, w_shape, options, bias = case
    try:
        y_shape = cf.conv2d_output_shape(x_shape, w_shape, **options)
    except ValueError:
        with pytest.raises(ValueError, match="room for the window"):  # the rest of the arguments is right
            cf.conv2d(np.ones(x_shape), np.ones(w_shape), **options)
        return
    rng = np.random.default_rng([*x_shape, *w_shape])
    x, w, b, dy = (rng.normal(size=s).astype(dtype) for s in (x_shape, w_shape, w_shape[3:], y_shape))
    call = Call("", (x, w, b) if bias else (x, w), options)
    error = error_in_eps(CONV2D, call, outputs(CONV2D, cf.conv2d, call))
    assert error <= CONV2D.allowed(call)
    call = Call("", (dy, x, w), options)
    error = error_in_eps(BACKWARD, call, outputs(BACKWARD, cf.conv2d_backward, call))
    assert error <= BACKWARD.allowed(call)


# -- algorithms --


@pytest.mark.parametrize("dtype", DTYPES)
def test_winograd_is_as_exact_as_told(isa, dtype):
    """F(2x2) errs at most 4 times as much as the direct sum, which "auto" relies on; F(4x4) as its matrices say."""
    rng = np.random.default_rng(0)
    errors = {"direct": [0.0, 0.0], "winograd2": [0.0, 0.0], "winograd4": [0.0, 0.0], "auto": [0.0, 0.0]}
    for N, H, W, C, K in ((1, 16, 15, 64, 32), (2, 9, 10, 130, 17), (1, 28, 28, 16, 16)):
        x, w = (rng.normal(size=s).astype(dtype) for s in ((N, H, W, C), (3, 3, C, K)))
        dy = rng.normal(size=(N, H, W, K)).astype(dtype)
        for algorithm, worst in errors.items():
            options = {"padding": 1, "algorithm": algorithm}
            for i, (op, args) in enumerate(((CONV2D, (x, w)), (BACKWARD, (dy, x, w)))):
                call = Call("", args, options | ({"needs": ("x",)} if i else {}))
                worst[i] = max(worst[i], error_in_eps(op, call, outputs(op, op.public, call)))
    for i in range(2):
        assert errors["winograd2"][i] <= 4 * errors["direct"][i]
        assert errors["auto"][i] <= 4 * errors["direct"][i]
        assert errors["winograd4"][i] <= 7.14 * errors["direct"][i]


def test_algorithm_is_for_filters_of_three_by_three():
    x, w = np.ones((1, 6, 6, 4)), np.ones((3, 3, 4, 4))
    for algorithm in ("winograd2", "winograd4"):
        for filters, options in (
            (w[:2], {}),
            (w, {"stride": (1, 2)}),
            (w, {"dilation": 2}),
            (w[:, :, :2], {"groups": 2}),
        ):
            for call in (
                lambda f=filters, o=options, a=algorithm: cf.conv2d(x, f, algorithm=a, **o),
                lambda f=filters, o=options, a=algorithm: cf.conv2d_backward(
                    cf.conv2d(x, f, **o), x, f, algorithm=a, **o
                ),
            ):
                with pytest.raises(ValueError, match=r"^algorithm: expected .* 3x3"):
                    call()
