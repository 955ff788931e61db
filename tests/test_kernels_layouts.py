"""Results do not depend on how an array lies in memory, bit for bit, and inputs stay as they were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import closedform as cf
from conftest import same_bits

# -- the same values, laid out otherwise --


def _fields(a, before):
    """A field of a packed record: the stride is no multiple of the item size."""
    pad, value = ("pad", "u1"), ("value", a.dtype)
    records = np.zeros(a.shape, np.dtype([pad, value] if before else [value, pad]))
    records["value"] = a
    return records["value"]


def _unaligned(a):
    bytes_ = bytearray(a.nbytes + 1)
    view = np.frombuffer(bytes_, a.dtype, a.size, offset=1).reshape(a.shape)
    view[...] = a
    return view


def _stepped(a):
    wide = np.zeros(tuple(3 * n for n in a.shape), a.dtype)
    view = wide[tuple(slice(1, None, 3) for _ in a.shape)]
    view[...] = a
    return view


def _negative(a):
    every = tuple(slice(None, None, -1) for _ in a.shape)
    return a[every].copy()[every]


def _half_negative(a):
    every = (slice(None, None, -1),) + (slice(None),) * (a.ndim - 1)
    return a[every].copy()[every] if a.ndim else a


def _transposed(a):
    return np.moveaxis(np.moveaxis(a, -1, 0).copy(), 0, -1) if a.ndim else a


def _read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


LAYOUTS = {
    "fortran": np.asfortranarray,
    "transposed": _transposed,
    "negative strides": _negative,
    "negative rows": _half_negative,
    "stepped": _stepped,
    "unaligned": _unaligned,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "read-only": _read_only,
    "matrix": lambda a: a.view(np.matrix) if a.ndim == 2 else a,
    "masked": lambda a: np.ma.masked_array(a, np.zeros(a.shape, bool)),
    "field after": lambda a: _fields(a, before=True),
    "field before": lambda a: _fields(a, before=False),
    "list": lambda a: a.tolist() if a.dtype in (np.float64, np.int64) else a,
}

# -- every op, as a function of arrays alone --


def _draw(dtype, *shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def _unit(dtype, *shape, seed=0):
    return np.random.default_rng([seed, *shape]).uniform(size=shape).astype(dtype)


def _cases():
    """(name, op, arguments of a dtype)"""

    def pair(d, *shape):
        return _draw(d, *shape), _draw(d, *shape, seed=1)

    for N, D, H in ((7, 5, 19), (70, 300, 40), (300, 260, 30)):
        yield (
            f"dense {N}",
            cf.dense,
            lambda d, N=N, D=D, H=H: (_draw(d, N, D), _draw(d, D, H), _draw(d, H)),
        )
        yield (
            f"dense_backward {N}",
            cf.dense_backward,
            lambda d, N=N, D=D, H=H: (_draw(d, N, H), _draw(d, N, D), _draw(d, D, H)),
        )
    for name in ("relu", "sigmoid", "tanh", "softplus", "gelu"):
        yield name, getattr(cf, name), lambda d: (_draw(d, 13, 5, 3),)
        yield f"{name}_backward", getattr(cf, f"{name}_backward"), lambda d: pair(d, 13, 5, 3)
    for name in ("softmax", "log_softmax", "logsumexp"):
        for axis in (0, 1, 2):
            op = getattr(cf, name)
            yield (
                f"{name} {axis}",
                lambda x, op=op, axis=axis: op(x, axis=axis),
                lambda d: (_draw(d, 6, 5, 19),),
            )
    for name in ("softmax_backward", "log_softmax_backward"):
        for axis in (0, 2):
            op = getattr(cf, name)
            yield (
                f"{name} {axis}",
                lambda dy, y, op=op, a=axis: op(dy, y, axis=a),
                lambda d: pair(d, 6, 5, 19),
            )
    yield "softmax_jacobian", cf.softmax_jacobian, lambda d: (_draw(d, 3, 11),)
    for name in ("squared_error", "binary_cross_entropy", "binary_cross_entropy_with_logits"):
        for reduction in ("sum", "mean", "none"):
            op = getattr(cf, name)
            yield (
                f"{name} {reduction}",
                lambda p, y, op=op, r=reduction: op(p, y, reduction=r),
                lambda d: (_unit(d, 7, 9), _unit(d, 7, 9, seed=1)),
            )
        yield (
            f"{name}_backward",
            getattr(cf, f"{name}_backward"),
            lambda d: (_unit(d, 7, 9), _unit(d, 7, 9, seed=1)),
        )
    labels = np.arange(23) % 11
    for name in ("cross_entropy", "cross_entropy_backward", "cross_entropy_with_grad"):
        op = getattr(cf, name)
        yield (
            f"{name} labels",
            lambda z, t, w, op=op: op(z, t, weight=w, label_smoothing=0.1, ignore_index=4),
            lambda d: (_draw(d, 23, 11), labels, _unit(d, 11)),
        )
        yield (
            f"{name} soft",
            lambda z, t, w, op=op: op(z, t, weight=w),
            lambda d: (_draw(d, 23, 11), _unit(d, 23, 11), _unit(d, 11)),
        )


CASES = {name: (op, arguments) for name, op, arguments in _cases()}


def as_tuple(result):
    return tuple(np.asarray(r) for r in result) if isinstance(result, tuple) else (np.asarray(result),)


def assert_same(found, expected):
    for f, e in zip(as_tuple(found), as_tuple(expected), strict=True):
        assert type(f) is np.ndarray
        assert same_bits(f, e)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layouts(isa, layout, dtype):
    """All arguments in one layout."""
    for name, (op, make) in CASES.items():
        arguments = make(dtype)
        given = [LAYOUTS[layout](a) for a in arguments]
        if layout == "masked" and name.startswith("dense"):
            assert not isinstance(op(*given)[0], np.ma.MaskedArray)
        assert_same(op(*given), op(*arguments))
        for pristine, a, g in zip(make(dtype), arguments, given, strict=True):
            np.testing.assert_array_equal(a, pristine, err_msg=name)
            np.testing.assert_array_equal(g, pristine, err_msg=name)


@given(st.sampled_from(sorted(CASES)), st.lists(st.sampled_from(sorted(LAYOUTS)), min_size=3, max_size=3))
def test_mixed_layouts(name, layouts):
    op, make = CASES[name]
    arguments = make(np.float64)
    assert_same(op(*(LAYOUTS[k](a) for k, a in zip(layouts, arguments, strict=False))), op(*arguments))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_stride_zero(isa, axis, dtype):
    for op, make in CASES.values():
        arguments = make(dtype)
        constant = [
            np.broadcast_to(a.take([0], axis), a.shape) if a.ndim > axis and a.dtype.kind == "f" else a
            for a in arguments
        ]
        assert_same(op(*constant), op(*(a.copy() for a in constant)))


@given(st.data())
def test_windows_and_steps(data):
    """Slices of every kind of one array, through the matrix product and an elementwise op."""
    base = _draw(np.float64, 90, 90)

    def window(rows, columns):
        slices = []
        for n in (rows, columns):
            step = data.draw(st.sampled_from([1, 2, 3, -1, -2, 0]))
            start = data.draw(st.integers(0, 20))
            slices.append((start, n, step))
        views = base
        index = [np.arange(n) * s + (start if s >= 0 else 89 - start) for start, n, s in slices]
        copied = views[np.ix_(*index)]
        strides = [a * s for a, (_, _, s) in zip(base.strides, slices, strict=True)]
        first = base[index[0][0] if rows else 0 :, index[1][0] if columns else 0 :]
        view = np.lib.stride_tricks.as_strided(first, (rows, columns), strides)
        return view, np.ascontiguousarray(copied)

    M, N, K = (data.draw(st.integers(1, 21)) for _ in range(3))
    (x, x_copy), (w, w_copy) = window(M, K), window(K, N)
    np.testing.assert_array_equal(x, x_copy)
    assert_same(cf.dense(x, w), cf.dense(x_copy, w_copy))
    assert_same(cf.tanh(x), cf.tanh(x_copy))
    assert_same(cf.dense_backward(cf.dense(x, w), x, w), cf.dense_backward(cf.dense(x, w), x_copy, w_copy))


# -- out= --


def _outs(shape, dtype):
    for name in ("fortran", "negative strides", "stepped", "unaligned", "field after", "field before"):
        yield name, LAYOUTS[name](np.zeros(shape, dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_out_of_any_layout(dtype):
    x, w = _draw(dtype, 33, 20), _draw(dtype, 20, 9)
    operations = {
        "dense": lambda out=None: cf.dense(x, w, out=out),
        "relu": lambda out=None: cf.relu(x, out=out),
        "gelu_backward": lambda out=None: cf.gelu_backward(x, x, out=out),
        "softmax": lambda out=None: cf.softmax(x, out=out),
        "softmax 0": lambda out=None: cf.softmax(x, axis=0, out=out),
        "log_softmax_backward 0": lambda out=None: cf.log_softmax_backward(x, x, axis=0, out=out),
        "logsumexp 0": lambda out=None: cf.logsumexp(x, axis=0, out=out),
        "jacobian": lambda out=None: cf.softmax_jacobian(x, out=out),
        "squared_error_backward": lambda out=None: cf.squared_error_backward(x, x + 1, out=out),
        "cross_entropy_backward": lambda out=None: cf.cross_entropy_backward(x, np.zeros(33, int), out=out),
    }
    for name, op in operations.items():
        expected = op()
        for layout, out in _outs(expected.shape, dtype):
            assert op(out=out) is out, (name, layout)
            assert same_bits(np.ascontiguousarray(out), expected), (name, layout)


def test_out_writes_nothing_beside_the_result():
    wide = np.full((40, 40), 7.0)
    cf.relu(_draw(np.float64, 10, 11), out=wide[3:33:3, 2:35:3])
    wide[3:33:3, 2:35:3] = 7
    assert np.all(wide == 7)
    for n in (1, 3, 5, 15, 17):  # the last vector is partial
        line = np.full(n + 2, 7.0, np.float32)
        cf.tanh(_draw(np.float32, n), out=line[1:-1])
        assert line[0] == 7
        assert line[-1] == 7


@pytest.mark.parametrize("layout", ["fortran", "negative strides", "stepped", "unaligned", "field after"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_updates_in_place_of_any_layout(layout, dtype):
    given, copies = [], []
    for seed in range(4):
        a = np.abs(_draw(dtype, 6, 11, seed=seed))
        given.append(LAYOUTS[layout](a.copy()))
        copies.append(a.copy())
    for p, g, m, v in (given, copies):
        cf.adam_update(p, g, m, v, lr=0.1, weight_decay=0.1, step=3)
        cf.sgd_update(p, g, m, lr=0.1, momentum=0.9, nesterov=True)
    for a, b in zip(given, copies, strict=True):
        assert same_bits(np.ascontiguousarray(a), b)


# -- nothing, and scalars --


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (0, 0), (2, 0, 3), (0, 2**40)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing(isa, shape, dtype):
    x = np.zeros(shape, dtype)
    for name in ("relu", "sigmoid", "tanh", "softplus", "gelu"):
        assert getattr(cf, name)(x).shape == shape
        assert getattr(cf, f"{name}_backward")(x, x).shape == shape
    for axis in range(x.ndim):
        for name in ("softmax", "log_softmax"):
            y = getattr(cf, name)(x, axis=axis)
            assert y.shape == shape
            assert y.dtype == dtype
            assert getattr(cf, f"{name}_backward")(x, x, axis=axis).shape == shape
        reduced = shape[:axis] + shape[axis + 1 :]
        if np.prod(reduced, dtype=float) < 1e6:
            y = cf.logsumexp(x, axis=axis)
            assert y.shape == reduced
            assert np.all(y == -np.inf)
    assert cf.softmax_jacobian(x[..., :0]).shape == (*shape[:-1], 0, 0)
    for name in ("squared_error", "binary_cross_entropy", "binary_cross_entropy_with_logits"):
        op = getattr(cf, name)
        assert op(x, x, reduction="sum") == 0
        assert np.isnan(op(x, x, reduction="mean"))
        assert op(x, x, reduction="none").shape == shape
        for reduction in ("sum", "mean", "none"):
            assert getattr(cf, f"{name}_backward")(x, x, reduction=reduction).shape == shape
    cf.sgd_update(x, x.copy(), None, lr=0.1)
    cf.adam_update(x, x.copy(), x.copy(), x.copy(), lr=0.1, step=1)


@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
def test_cross_entropy_of_no_rows(reduction):
    z, t = np.zeros((0, 5), np.float32), np.zeros(0, int)
    loss, gradient = cf.cross_entropy_with_grad(z, t, reduction=reduction)
    assert gradient.shape == (0, 5)
    if reduction == "none":
        assert loss.shape == (0,)
    else:
        assert loss == 0 if reduction == "sum" else np.isnan(loss)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zero_dimensions(dtype):
    x = np.array(0.5, dtype)
    for name in ("relu", "sigmoid", "tanh", "softplus", "gelu"):
        y = getattr(cf, name)(x)
        assert y.shape == ()
        assert y.dtype == dtype
        assert getattr(cf, f"{name}_backward")(x, x).shape == ()
        assert getattr(cf, name)(0.5).dtype == np.float64  # a Python number
    assert cf.squared_error(x, x) == 0
    assert cf.squared_error(x, x, reduction="none").shape == ()
    for op in (cf.softmax, cf.logsumexp, cf.softmax_jacobian):
        with pytest.raises(ValueError, match="expected"):
            op(x)
