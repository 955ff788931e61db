"""The work of a round, part of _boosting.pyx: sums by bin, then the scan of bins that could hold something better."""

cdef inline bint better(const Split& a, const Split& b) noexcept nogil:
    """Of equal ones the lowest feature, then the lowest threshold."""
    if a.correct != b.correct:
        return a.correct > b.correct
    return a.feature < b.feature or (a.feature == b.feature and a.place < b.place)


cdef void add_up(void* context, ptrdiff_t f) noexcept nogil:
    """Fills sums, left and right of a feature, and finds its best split between bins."""
    cdef Data* d = <Data*>context
    cdef ptrdiff_t B = d.n_bins[f], row = f * (d.B + 1), j, k, b
    cdef const uint16_t* bins = d.bins.data() + f * d.N
    cdef const int64_t* weights = d.weights.data()
    cdef int64_t* left = d.left.data() + row
    cdef int64_t* right = d.right.data() + row
    cdef int64_t* sums
    cdef int64_t before
    cdef Split* best = &d.splits[f]
    memset(left, 0, (B + 1) * sizeof(int64_t))
    memset(right, 0, (B + 1) * sizeof(int64_t))
    for k in range(d.K):
        sums = d.sums.data() + row * d.K + k * (d.B + 1)
        memset(sums, 0, (B + 1) * sizeof(int64_t))
        for j in range(d.starts[k], d.starts[k + 1]):
            sums[bins[j] + 1] += weights[j]
        right[0] = max(right[0], d.totals[k])
        before = 0
        for b in range(1, B + 1):
            before += sums[b]
            sums[b] = before
            left[b] = max(left[b], before)
            right[b] = max(right[b], d.totals[k] - before)
    best.correct, best.feature, best.bin = -1, f, 0
    for b in range(1, B):
        if left[b] + right[b] > best.correct and left[b] > 0 and right[b] > 0:
            best.correct, best.bin = left[b] + right[b], b
    best.place = d.places[row + best.bin]


cdef int64_t most_inside(const Data* d, ptrdiff_t f, ptrdiff_t bin) noexcept nogil:
    """What a split inside a bin has right at most: two classes, one up to the end of the bin, the other from its begin.

    One class for both sides is no better than at the split before the bin: all of that class is right there, too.
    """
    cdef ptrdiff_t k, row = f * (d.B + 1)
    cdef const int64_t* sums = d.sums.data() + row * d.K
    cdef int64_t most = 0, left = 0, right = 0, l, r
    for k in range(d.K):
        l, r = sums[bin + 1], d.totals[k] - sums[bin]
        most = max(most, l + right, left + r)
        left, right = max(left, l), max(right, r)
        sums += d.B + 1
    return most


cdef void refine(void* context, ptrdiff_t f) noexcept nogil:
    """Scans the bins of a feature that could hold a split better than the best of those between bins."""
    cdef Data* d = <Data*>context
    cdef ptrdiff_t row = f * (d.B + 1), b
    cdef Split best = d.best, inside
    cdef Scratch* scratch
    inside.feature = f
    for b in range(d.n_bins[f]):
        if not d.several[row + b]:
            continue
        inside.correct, inside.place = d.left[row + b + 1] + d.right[row + b], d.places[row + b] + 1
        if better(inside, best):
            inside.correct = most_inside(d, f, b)
            if better(inside, best):
                scratch = new Scratch((d.K + d.places[row + b + 1] - d.places[row + b]) * sizeof(int64_t))
                scan(d, f, b, &best, scratch.as_[int64_t]())
                del scratch
    d.splits[f] = best


cdef void scan(const Data* d, ptrdiff_t f, ptrdiff_t bin, Split* best, int64_t* scratch) noexcept nogil:
    """All splits inside a bin. scratch: room for the classes, and for the rows of the bin."""
    cdef ptrdiff_t row = f * (d.B + 1), k, p, begin = d.places[row + bin], end = d.places[row + bin + 1]
    cdef const uint32_t* order = d.order.data() + f * d.N
    cdef const int64_t* sums = d.sums.data() + row * d.K
    cdef int64_t* by_class = scratch
    cdef int64_t* right = scratch + d.K  # weight of the heaviest class, from each place on
    cdef int64_t heaviest = d.right[row + bin + 1]
    cdef uint32_t j
    cdef Split split
    for k in range(d.K):
        by_class[k] = d.totals[k] - sums[k * (d.B + 1) + bin + 1]
    for p in range(end - 1, begin, -1):
        j = order[p] & ROW
        k = d.classes[j]
        by_class[k] += d.weights[j]
        heaviest = max(heaviest, by_class[k])
        right[p - begin] = heaviest
    for k in range(d.K):
        by_class[k] = sums[k * (d.B + 1) + bin]
    heaviest = d.left[row + bin]
    split.feature, split.bin = f, bin
    for p in range(begin + 1, end):
        j = order[p - 1] & ROW
        k = d.classes[j]
        by_class[k] += d.weights[j]
        heaviest = max(heaviest, by_class[k])
        split.correct, split.place = heaviest + right[p - begin], p
        if order[p - 1] & LAST and better(split, best[0]) and heaviest > 0 and right[p - begin] > 0:
            best[0] = split


cdef void choose(Data* d) noexcept nogil:
    cdef ptrdiff_t f
    d.best = d.splits[0]
    for f in range(1, d.F):
        if better(d.splits[f], d.best):
            d.best = d.splits[f]
