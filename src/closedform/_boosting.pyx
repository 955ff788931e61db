# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: embedsignature=False, freethreading_compatible=True
"""Compiled driver of boosting. Call the wrappers in `closedform`: they validate and explain.

N rows, F features, K classes (those that occur), B bins of a feature at most.

Once: rows are sorted by class, and every feature by value. A feature's values are cut into bins of whole values: a bin
for every value if there are no more than B, else bins of about N/B rows.

Each round: weights become integers, whose sums are exact in any order.
  1. The weights of every bin are added up, class by class. Running sums over the bins give, at each split between two
     bins, the weights l and r of the heaviest class on its left and on its right: it has l + r right.
  2. From left to right l only grows and r only falls, so a split inside a bin has at most l after the bin and r before
     it. Bins that could beat the best split so far are scanned value by value: each row changes the weight of one
     class, and the heaviest is that one or the one before.
The work is O(N F) whatever K is: bins are so few that K B <= N. Bits do not depend on the number of threads.
"""

import numpy as np

from libc.math cimport INFINITY, frexp, isnan, ldexp
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset
from libcpp cimport bool
from libcpp.algorithm cimport max_element
from libcpp.vector cimport vector

cdef extern from "core/parallel.hpp" namespace "closedform" nogil:
    void parallel_run(ptrdiff_t n, void (*task)(void* context, ptrdiff_t index) noexcept, void* context) except +

cdef extern from "core/arena.hpp" namespace "closedform" nogil:
    cdef cppclass Scratch:
        Scratch(size_t bytes)  # what it throws passes through a task, to parallel_run
        T* as_ "as" [T]()

include "_boosting_sort.pxi"
include "_boosting_scan.pxi"


cdef void take(Data* d, const double* sample_weight, double total) noexcept nogil:
    """Weights as integers: times the power of two that brings their sum to 2^60 or more, below 2^61, and rounded."""
    cdef int exponent
    cdef ptrdiff_t j, k
    frexp(total, &exponent)
    exponent = 61 - exponent
    cdef double scale = ldexp(1, exponent // 2), rest = ldexp(1, exponent - exponent // 2)  # in one it may overflow
    for k in range(d.K):
        d.totals[k] = 0
        for j in range(d.starts[k], d.starts[k + 1]):
            d.weights[j] = <int64_t>(sample_weight[d.rows[j]] * scale * rest + 0.5)
            d.totals[k] += d.weights[j]


cdef vector[int64_t] left_of(const Data* d, const Split& split) noexcept nogil:
    """The weight of each class on the left of a split."""
    cdef vector[int64_t] weights
    cdef ptrdiff_t row = split.feature * (d.B + 1), k, p, j
    for k in range(d.K):
        weights.push_back(d.sums[row * d.K + k * (d.B + 1) + split.bin])
    for p in range(d.places[row + split.bin], split.place):
        j = d.order[split.feature * d.N + p] & ROW
        weights[d.classes[j]] += d.weights[j]
    return weights


cdef double threshold_of(const Data* d, const Split& split) noexcept nogil:
    """The midpoint of the values around a split, in x's dtype and below the second. Rows of weight 0 do not count.

    The value before has a weight: else the same split would be possible, and was preferred, before it.
    """
    cdef const uint32_t* order = d.order.data() + split.feature * d.N
    cdef ptrdiff_t after = split.place
    while d.weights[order[after] & ROW] == 0:
        after += 1
    cdef double a = value_of(d, order[split.place - 1] & ROW, split.feature)
    cdef double b = value_of(d, order[after] & ROW, split.feature)
    cdef double middle = a / 2 + b / 2
    if d.x32:
        middle = <float>middle
    return middle if a <= middle < b else a


cdef ptrdiff_t heaviest(vector[int64_t]& weights) noexcept nogil:
    return max_element(weights.begin(), weights.end()) - weights.begin()


cdef ptrdiff_t bins_up_to(const Data* d, ptrdiff_t f, double threshold) noexcept nogil:
    """How many bins begin with a value <= threshold."""
    cdef ptrdiff_t low = 0, high = d.n_bins[f], b
    while low < high:
        b = (low + high) // 2
        if value_of(d, d.order[f * d.N + d.places[f * (d.B + 1) + b]] & ROW, f) <= threshold:
            low = b + 1
        else:
            high = b
    return low


cdef class Stumps:
    """Finds stumps for the rows x (N, F), float or double, of classes y (N,): sorts once, for any number of rounds.

    missing_left: NaN is taken for -inf, and so goes left whatever the threshold is. One thread at a time.
    """

    cdef Data data
    cdef object x  # what data.x32 or data.x64 points to

    def __init__(self, x, y, n_classes, bint missing_left=False):
        cdef const float[:, ::1] x32
        cdef const double[:, ::1] x64
        cdef Data* d = &self.data
        d.missing_left = missing_left
        d.x32 = NULL
        d.x64 = NULL
        if not (x.ndim == 2 and 0 < len(x) < LAST and x.shape[1] and y.shape == x.shape[:1]):
            raise ValueError("Stumps: shapes of x and y")
        if not 0 <= y.min() <= y.max() < n_classes:
            raise ValueError("Stumps: y outside of [0, n_classes)")
        if x.dtype == np.float32:
            x32 = x
            d.x32 = &x32[0, 0]
        else:
            x64 = x
            d.x64 = &x64[0, 0]
        self.x = x
        self.reserve(x.shape[0], x.shape[1], y.astype(np.min_scalar_type(y.max())))
        cdef uint64_t[:, ::1] keys = np.empty((d.F, d.N), np.uint64)
        d.keys = &keys[0, 0]
        cdef ptrdiff_t f
        with nogil:
            parallel_run((d.N + BLOCK - 1) // BLOCK, key_rows, d)
            parallel_run(d.F, sort_feature, d)
        for f in range(d.F):
            if d.n_bins[f] == 0:
                raise ValueError("x: expected no NaN")

    cdef reserve(self, ptrdiff_t N, ptrdiff_t F, y):
        """Sizes of the arrays, and the rows by class."""
        cdef Data* d = &self.data
        order = y.argsort(kind="stable")  # of short integers a radix sort
        sorted = y[order]
        begins = np.flatnonzero(np.concatenate([[True], np.diff(sorted) != 0]))
        d.names, d.starts = sorted[begins], [*begins, N]
        cdef const Py_ssize_t[::1] rows = order
        cdef ptrdiff_t K = len(begins), B = min(MOST_BINS, max(1, N // (8 * K))), j, k
        d.N, d.F, d.K, d.B = N, F, K, B
        d.rows.resize(N)
        d.classes.resize(N)
        for k in range(K):
            for j in range(d.starts[k], d.starts[k + 1]):
                d.rows[j], d.classes[j] = rows[j], k
        d.order.resize(F * N)
        d.bins.resize(F * N)
        d.n_bins.assign(F, 0)
        d.places.resize(F * (B + 1))
        d.several.resize(F * (B + 1))
        d.weights.resize(N)
        d.totals.resize(K)
        d.sums.resize(F * K * (B + 1))
        d.left.resize(F * (B + 1))
        d.right.resize(F * (B + 1))
        d.splits.resize(F)

    def find(self, sample_weight, /):
        """(feature, threshold, left_class, right_class, error), for weights >= 0 of a finite sum > 0."""
        cdef Data* d = &self.data
        cdef const double[::1] weights = sample_weight
        cdef double total = np.add.reduce(sample_weight), threshold = INFINITY
        if weights.shape[0] != d.N or not 0 < total < INFINITY:
            raise ValueError("find: sample_weight")
        with nogil:
            take(d, &weights[0], total)
            parallel_run(d.F, add_up, d)
            choose(d)
            parallel_run(d.F, refine, d)
            choose(d)
        cdef vector[int64_t] left = d.totals, right = d.totals  # (K,) on either side
        cdef int64_t whole = 0, correct = d.best.correct
        cdef ptrdiff_t k
        for k in range(d.K):
            whole += d.totals[k]
        if correct < 0:  # no split
            correct = left[heaviest(left)]
        else:
            threshold = threshold_of(d, d.best)
            left = left_of(d, d.best)
            for k in range(d.K):
                right[k] -= left[k]
        cdef ptrdiff_t left_class = d.names[heaviest(left)], right_class = d.names[heaviest(right)]
        return d.best.feature, threshold, left_class, right_class, (whole - correct) / whole

    def reweigh(self, double[::1] sample_weight, ptrdiff_t feature, double threshold, ptrdiff_t left_class,
                ptrdiff_t right_class, double right_factor, double wrong_factor, /):
        """Multiplies the weights of the rows that a stump has right, and those of the others, in place."""
        cdef Data* d = &self.data
        if sample_weight.shape[0] != d.N or not 0 <= feature < d.F:
            raise ValueError("reweigh: sample_weight or feature")
        cdef const uint16_t* bins = d.bins.data() + feature * d.N
        cdef ptrdiff_t some, all, j, k  # bins before `all` go left as a whole, and of those before `some` a part
        cdef double[2] factors
        cdef bint goes_left
        with nogil:
            some = bins_up_to(d, feature, threshold)
            all = some
            if some > 0 and d.several[feature * (d.B + 1) + some - 1]:
                all -= 1
            for k in range(d.K):
                factors[True] = right_factor if d.names[k] == left_class else wrong_factor
                factors[False] = right_factor if d.names[k] == right_class else wrong_factor
                for j in range(d.starts[k], d.starts[k + 1]):
                    goes_left = bins[j] < all
                    if bins[j] == all < some:
                        goes_left = value_of(d, j, feature) <= threshold
                    sample_weight[d.rows[j]] *= factors[goes_left]
