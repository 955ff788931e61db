"""The rows of a fit and the sort, part of _boosting.pyx. N rows, F features, K classes, B bins of a feature at most."""

cdef extern from "core/sort.hpp" namespace "closedform" nogil:
    cdef struct Keyed:
        uint64_t key
        uint32_t index
    uint64_t key_of(double value)
    Keyed* radix_sort(Keyed* a, Keyed* b, ptrdiff_t N)

cdef enum:
    MOST_BINS = 1024
    BLOCK = 1024  # rows at a time
    LAST = 0x80000000  # in `order`: of the rows with its value, this is the last
    ROW = 0x7fffffff

cdef struct Split:
    int64_t correct  # weight of the rows it has right; -1 for no split
    ptrdiff_t feature, place, bin  # the place in `order` where its right side begins, and the bin of that

cdef cppclass Data:
    ptrdiff_t N, F, K, B
    const float* x32  # (N, F), one of the two
    const double* x64
    bool missing_left
    vector[ptrdiff_t] names  # (K,) the numbers of the classes
    vector[ptrdiff_t] starts  # (K + 1,) where each begins
    vector[uint32_t] rows  # (N,) by class: the places in x
    vector[uint32_t] classes  # (N,) of those
    uint64_t* keys  # (F, N) values of those, until they are sorted
    vector[uint32_t] order  # (F, N) those by value
    vector[uint16_t] bins  # (F, N)
    vector[ptrdiff_t] n_bins  # (F,); 0 for a feature with NaN
    vector[uint32_t] places  # (F, B + 1) in `order`, where each bin begins
    vector[uint8_t] several  # (F, B + 1) whether there is more than one value in it
    vector[int64_t] weights  # (N,)
    vector[int64_t] totals  # (K,) of each class
    vector[int64_t] sums  # (F, K, B + 1) of each class before each bin
    vector[int64_t] left  # (F, B + 1) that of the heaviest class before each bin
    vector[int64_t] right  # (F, B + 1) and from there on
    vector[Split] splits  # (F,) the best of each feature
    Split best  # of all, so far


cdef inline double value_of(const Data* d, ptrdiff_t j, ptrdiff_t f) noexcept nogil:
    cdef ptrdiff_t at = d.rows[j] * d.F + f
    cdef double value = d.x32[at] if d.x32 else d.x64[at]
    return -INFINITY if d.missing_left and isnan(value) else value


cdef void key_rows(void* context, ptrdiff_t block) noexcept nogil:
    """Keys of a block of rows: from x, which lies by row, to memory by feature."""
    cdef Data* d = <Data*>context
    cdef ptrdiff_t j, f
    for j in range(block * BLOCK, min(d.N, (block + 1) * BLOCK)):
        for f in range(d.F):
            d.keys[f * d.N + j] = key_of(value_of(d, j, f))


cdef bint sort_keys(Data* d, ptrdiff_t f, Keyed* keyed) noexcept nogil:
    """Fills the order of a feature; false for NaN, whose keys are beyond those of infinity. keyed: room for 2 N."""
    cdef ptrdiff_t N = d.N, j
    cdef uint32_t* order = d.order.data() + f * N
    for j in range(N):
        keyed[j].key, keyed[j].index = d.keys[f * N + j], j
    keyed = radix_sort(keyed, keyed + N, N)
    for j in range(N):
        order[j] = keyed[j].index
        if j + 1 == N or keyed[j].key != keyed[j + 1].key:
            order[j] |= LAST
    return key_of(-INFINITY) <= keyed[0].key and keyed[N - 1].key <= key_of(INFINITY)


cdef void cut(Data* d, ptrdiff_t f) noexcept nogil:
    """Cuts the values of a feature into bins: one each, or as many as fit into a bin's share of the rows to come."""
    cdef ptrdiff_t N = d.N, row = f * (d.B + 1), n_values = 0, share = 0, n = 0, begin = 0, value = 0, p, b
    cdef const uint32_t* order = d.order.data() + f * N
    cdef uint32_t* places = d.places.data() + row
    for p in range(N):
        n_values += order[p] >> 31
    if n_values > d.B:
        share = (N + d.B - 1) // d.B
    for p in range(N):
        if not order[p] & LAST:
            continue
        if value > begin and p + 1 - begin > share:  # the value, from `value` to p, goes into the next bin
            n, begin = n + 1, value
            if share:
                share = (N - begin + d.B - n - 1) // (d.B - n)
        places[n], d.several[row + n] = begin, value > begin
        value = p + 1
    n += 1
    places[n], d.n_bins[f] = N, n
    for b in range(n):
        for p in range(places[b], places[b + 1]):
            d.bins[f * N + (order[p] & ROW)] = b


cdef void sort_feature(void* context, ptrdiff_t f) noexcept nogil:
    cdef Data* d = <Data*>context
    cdef Scratch* scratch = new Scratch(2 * d.N * sizeof(Keyed))
    cdef bint sorted = sort_keys(d, f, scratch.as_[Keyed]())
    del scratch
    if sorted:
        cut(d, f)
