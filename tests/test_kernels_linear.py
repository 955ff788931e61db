"""dense and dense_backward at every shape that takes another way through the matrix product."""

import itertools

import numpy as np
import pytest

import closedform as cf

# Around the tile (6 or 12 rows, 2 vectors of 4 to 16 columns), a block of K (256), and primes.
SIZES = [0, 1, 2, 5, 6, 7, 11, 12, 13, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 255, 256, 257, 300]

# M, N, K, one for each way through gemm.
PATHS = [
    (1, 1, 1),
    (1, 33, 1000),  # one row, several blocks of K in place
    (7, 5, 777),
    (30, 200, 150),  # few rows: w in place; of dw, many rows and two strips of short panels
    (30, 256, 40),  # rows of w a kilobyte apart: packed
    (64, 300, 300),  # w packed, two blocks of K
    (144, 40, 300),  # the last M that counts as few rows
    (200, 200, 200),  # many rows
    (200, 150, 1100),  # many rows, five blocks of K
    (13, 3100, 20),  # N over one block
    (200, 3100, 33),  # N over one block of packed panels
    (3100, 17, 5),  # M over one block
    (3100, 3100, 1),  # both
    (20000, 3, 2),  # long and thin
    (3, 2, 20000),  # a long sum
    (6, 20000, 3),  # wide
    (40, 40, 0),  # sums of nothing
    (300, 0, 300),  # nothing at all
    (0, 7, 7),
]

DTYPES = [np.float32, np.float64]


def draw(rng, *shape, dtype, integers=False):
    """Random entries; small integers if the result is to be exact."""
    if integers:
        return rng.integers(-8, 9, shape).astype(dtype)
    return (rng.normal(size=shape) * 2.0 ** rng.integers(-3, 4, shape)).astype(dtype)


def triples(n, largest=2_000_000):
    """n of the possible (M, N, K), the same every time; each size takes part in each role."""
    rng = np.random.default_rng(7)
    columns = [np.concatenate([rng.permutation(SIZES) for _ in range(n // len(SIZES) + 1)]) for _ in range(3)]
    found = [tuple(int(s) for s in t) for t in zip(*columns, strict=True)]
    return [t for t in found if np.prod(t) <= largest][:n]


def product(a, b, exact=False):
    """a @ b with bits to spare, or where float64 is `exact` with just enough."""
    wide = np.float64 if exact or a.dtype == np.float32 else np.longdouble
    return a.astype(wide) @ b.astype(wide)


def within_bound(found, a, b, bias=None):
    """|found - a @ b - bias| <= eps (K + 2) (|a| @ |b| + |bias|), entry by entry."""
    bias = np.zeros((), found.dtype) if bias is None else bias
    error = np.abs(found - (product(a, b) + bias))
    size = product(np.abs(a), np.abs(b)) + np.abs(bias)
    return bool(np.all(error <= np.finfo(found.dtype).eps * (a.shape[1] + 2) * size))


def check(M, N, K, dtype, *, integers, bias, seed=0):
    rng = np.random.default_rng([seed, M, N, K])
    x, w = (draw(rng, *s, dtype=dtype, integers=integers) for s in ((M, K), (K, N)))
    b = draw(rng, N, dtype=dtype, integers=integers) if bias else None
    y = cf.dense(x, w, b)
    assert y.shape == (M, N)
    assert y.dtype == dtype
    if integers:
        np.testing.assert_array_equal(y, product(x, w, exact=True) + (0 if b is None else b))
    else:
        assert within_bound(y, x, w, b)
    out = np.full((M, N), np.nan, dtype)
    assert cf.dense(x, w, b, out=out) is out
    assert out.tobytes() == y.tobytes()


def check_backward(M, N, K, dtype, *, integers, seed=0):
    rng = np.random.default_rng([seed, M, N, K])
    dy, x, w = (draw(rng, *s, dtype=dtype, integers=integers) for s in ((M, N), (M, K), (K, N)))
    got = cf.dense_backward(dy, x, w)
    ones = np.ones((1, M), dtype)
    factors = [(dy, w.T), (x.T, dy), (ones, dy)]
    for name, g, (a, b) in zip(("dx", "dw", "db"), got, factors, strict=True):
        g = g.reshape(a.shape[0], b.shape[1])
        assert g.dtype == dtype
        if integers:
            np.testing.assert_array_equal(g, product(a, b, exact=True), err_msg=name)
        else:
            assert within_bound(g, a, b), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_dense_is_exact_on_integers(isa, dtype):
    for i, (M, N, K) in enumerate(triples(150)):
        check(M, N, K, dtype, integers=True, bias=i % 2 == 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dense_backward_is_exact_on_integers(isa, dtype):
    for M, N, K in triples(100):
        check_backward(M, N, K, dtype, integers=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("M", "N", "K"), PATHS)
def test_paths(isa, dtype, M, N, K):
    check(M, N, K, dtype, integers=True, bias=True)
    check_backward(M, N, K, dtype, integers=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_errors_keep_to_the_bound(isa, dtype):
    for M, N, K in triples(25, largest=500_000):
        check(M, N, K, dtype, integers=False, bias=True)
        check(M, N, K, dtype, integers=False, bias=False)
        check_backward(M, N, K, dtype, integers=False)
    for M, N, K in ((300, 70, 300), (5, 16, 3000), (70, 20, 1030)):
        check(M, N, K, dtype, integers=False, bias=True)
        check_backward(M, N, K, dtype, integers=False)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_small_shape(isa, dtype):
    """Each number of rows and columns that a tile can have, and the edges of one vector."""
    for M, N in itertools.product(range(1, 14), range(1, 34)):
        check(M, N, 3, dtype, integers=True, bias=True)


def test_long_sums_stay_far_below_the_bound(isa):
    """K = 100,000: block sums make the error grow like the square root of K, not like K."""
    rng = np.random.default_rng(0)
    x, w = (
        rng.uniform(1, 2, (2, 100_000)).astype(np.float32),
        rng.uniform(1, 2, (100_000, 3)).astype(np.float32),
    )
    expected = product(x, w)
    assert np.all(np.abs(cf.dense(x, w) - expected) <= 400 * np.finfo(np.float32).eps * expected)
    db = cf.dense_backward(np.ones((100_000, 3), np.float32), x[:1].T, np.ones((1, 3), np.float32)).db
    np.testing.assert_array_equal(db, np.full(3, 100_000, np.float32))


@pytest.mark.parametrize("lead", [(), (1,), (2, 3), (2, 1, 4, 1), (0, 3), (3, 0), (70, 2)])
def test_batch_axes(isa, lead):
    rng = np.random.default_rng(1)
    D, H = 9, 17
    x, dy = (
        draw(rng, *lead, D, dtype=np.float64, integers=True),
        draw(rng, *lead, H, dtype=np.float64, integers=True),
    )
    w, b = draw(rng, D, H, dtype=np.float64, integers=True), draw(rng, H, dtype=np.float64, integers=True)
    y = cf.dense(x, w, b)
    assert y.shape == (*lead, H)
    np.testing.assert_array_equal(y, x @ w + b)
    dx, dw, db = cf.dense_backward(dy, x, w)
    np.testing.assert_array_equal(dx, dy @ w.T)
    np.testing.assert_array_equal(dw, x.reshape(-1, D).T @ dy.reshape(-1, H))
    np.testing.assert_array_equal(db, dy.reshape(-1, H).sum(axis=0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("M", "N", "K"), [(7, 19, 5), (80, 37, 300), (300, 300, 20)])
def test_what_is_not_finite_stays_in_its_row_and_column(isa, dtype, M, N, K):
    """The padding of edge tiles must not carry NaN or infinities to the neighbours."""
    rng = np.random.default_rng(2)
    x, w = draw(rng, M, K, dtype=dtype, integers=True), draw(rng, K, N, dtype=dtype, integers=True)
    expected = x @ w
    for bad in (np.nan, np.inf):
        x_bad, w_bad = x.copy(), w.copy()
        x_bad[-1, K // 2], w_bad[K // 2, -1] = bad, bad
        clean_rows, clean_columns = cf.dense(x_bad, w)[:-1], cf.dense(x, w_bad)[:, :-1]
        np.testing.assert_array_equal(clean_rows, expected[:-1])
        np.testing.assert_array_equal(clean_columns, expected[:, :-1])
        assert not np.isfinite(cf.dense(x_bad, np.ones_like(w))[-1]).any()
        assert not np.isfinite(cf.dense(np.ones_like(x), w_bad)[:, -1]).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_of_a_row_do_not_depend_on_its_neighbours(isa, dtype):
    """Every element has one accumulator, and K is cut in the same blocks whatever the shape."""
    rng = np.random.default_rng(3)
    x, w = draw(rng, 300, 700, dtype=dtype), draw(rng, 700, 300, dtype=dtype)
    y = cf.dense(x, w)
    for rows, columns in itertools.product(
        (slice(0, 1), slice(3, 10), slice(0, 64), slice(0, 65)), (slice(0, 17), slice(0, 300))
    ):
        part = cf.dense(x[rows], w[:, columns])
        np.testing.assert_array_equal(part, y[rows, columns])
        part = cf.dense(np.ascontiguousarray(x[rows]), np.ascontiguousarray(w[:, columns]))
        np.testing.assert_array_equal(part, y[rows, columns])


@pytest.mark.parametrize(
    "needs", list(itertools.chain(*(itertools.combinations("xwb", n) for n in range(4))))
)
def test_needs(needs):
    rng = np.random.default_rng(4)
    dy, x, w = (draw(rng, *s, dtype=np.float64) for s in ((8, 5), (8, 3), (3, 5)))
    everything = cf.dense_backward(dy, x, w)
    some = cf.dense_backward(dy, x, w, needs=iter(needs))
    for name, g, full in zip("xwb", some, everything, strict=True):
        if name in needs:
            np.testing.assert_array_equal(g, full)
        else:
            assert g is None


def test_outs_of_dense_backward():
    rng = np.random.default_rng(5)
    dy, x, w = (draw(rng, 6, 6, dtype=np.float32) for _ in range(3))
    expected = cf.dense_backward(dy, x, w)
    out = (np.empty((6, 6), np.float32), None, np.empty(6, np.float32))
    got = cf.dense_backward(dy, x, w, out=out)
    assert got.dx is out[0]
    assert got.db is out[2]
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_array_equal(g, e)
    with pytest.raises(ValueError, match="dw"):
        cf.dense_backward(dy, x, w, out=(out[0], out[0], None))
