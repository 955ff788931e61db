// Maxima over windows of images, and where they are.
#pragma once

#include "pooling.hpp"

namespace closedform::CF_ISA {
namespace {

using std::int64_t;

// The largest value so far, lane by lane, and the pixel it came from. The first of equal values stays, and
// so does a NaN.
template <class T>
struct Best {
    Vec<T> value;
    Int<T> pixel;

    CF_INLINE void meet(Vec<T> v, Int<T> p) {
        const Int<T> better = ~(v <= value) & (value == value);
        value = select(better, v, value);
        pixel = select(better, p, pixel);
    }

    CF_INLINE void put(T* y, int64_t* argmax) const {
        typedef int64_t wide __attribute__((vector_size(lanes<T> * sizeof(int64_t))));
        typedef int64_t unaligned
            __attribute__((vector_size(lanes<T> * sizeof(int64_t)), aligned(alignof(int64_t)), may_alias));
        store<T>(y, value);
        *reinterpret_cast<unaligned*>(argmax) = __builtin_convertvector(pixel, wide);
    }

    CF_INLINE void put_some(T* y, int64_t* argmax, ptrdiff_t n) const {
        if (n >= lanes<T>) return put(y, argmax);
        T values[lanes<T>];
        int64_t pixels[lanes<T>];
        put(values, pixels);
        for (ptrdiff_t k = 0; k < n; ++k) {
            y[k] = values[k];
            argmax[k] = pixels[k];
        }
    }
};

template <class T>
CF_INLINE Int<T> pixel_number(ptrdiff_t p) {
    return splat_int<T>(typename vector_traits<T>::integer(p));
}

// One window, S vectors of channels, of an image whose rows have W pixels of C channels.
template <int S, class T>
CF_INLINE void max_window(T* y, int64_t* argmax, const T* image, Span h, Span w, ptrdiff_t W, ptrdiff_t C) {
    Best<T> best[S];
#pragma GCC unroll 8
    for (int v = 0; v < S; ++v)
        best[v] = {splat(-T(__builtin_inff())), pixel_number<T>(h.begin * W + w.begin)};
    ptrdiff_t i = h.begin;
    do {
        ptrdiff_t p = i * W + w.begin;
        do {
#pragma GCC unroll 8
            for (int v = 0; v < S; ++v)
                best[v].meet(load<T>(image + p * C + v * lanes<T>), pixel_number<T>(p));
        } while (++p < i * W + w.end);
    } while (++i < h.end);
#pragma GCC unroll 8
    for (int v = 0; v < S; ++v) best[v].put(y + v * lanes<T>, argmax + v * lanes<T>);
}

// C at least a vector; the last vector may overlap the one before it, and finds the same.
template <class T>
inline void max_pool_channels(T* y, int64_t* argmax, const T* x, const Pooling& p, ptrdiff_t first,
                              ptrdiff_t end) {
    constexpr ptrdiff_t L = lanes<T>, S = 4;
    const ptrdiff_t W = p.w.in, C = p.C;
    for (ptrdiff_t r = first; r < end; ++r) {
        const T* const image = x + r / p.h.out * p.h.in * W * C;
        const Span h = under(p.h, r % p.h.out);
        for (ptrdiff_t j = 0; j < p.w.out; ++j) {
            const Span w = under(p.w, j);
            const ptrdiff_t to = (r * p.w.out + j) * C;
            ptrdiff_t c = 0;
            for (; c + S * L <= C; c += S * L)
                max_window<S, T>(y + to + c, argmax + to + c, image + c, h, w, W, C);
            for (; c < C; c += L) {
                const ptrdiff_t k = smaller(c, C - L);
                max_window<1, T>(y + to + k, argmax + to + k, image + k, h, w, W, C);
            }
        }
    }
}

// A row of an image, spread so that what one tap meets under all windows lies side by side: `phases` copies,
// each of every stride-th pixel and the padding. Tap t of window j is at offset(t) + j * C.
struct SpreadRow {
    Window w;
    ptrdiff_t C, phases, length;

    SpreadRow(const Window& w_, ptrdiff_t C_)
        : w(w_), C(C_), phases(smaller(w.stride, w.taps)), length((w.out + (w.taps - 1) / w.stride) * C) {}

    ptrdiff_t size() const { return phases * length; }
    ptrdiff_t offset(ptrdiff_t tap) const { return tap % w.stride * length + tap / w.stride * C; }

    template <class T>
    void fill(T* row, const T* x, T padding) const {
        const ptrdiff_t pixels = length / C;
        for (ptrdiff_t q = 0; q < phases; ++q, row += length) {  // pixel k is that at k * stride + q - pad
            const ptrdiff_t before = larger(0, w.pad - q), till = larger(0, w.in + w.pad - q);
            const ptrdiff_t begin = smaller(pixels, ceil_div(before, w.stride));
            const ptrdiff_t end = larger(begin, smaller(pixels, ceil_div(till, w.stride)));
            for (ptrdiff_t k = 0; k < begin * C; ++k) row[k] = padding;
            for (ptrdiff_t c = 0; c < C; ++c)
                for (ptrdiff_t k = begin; k < end; ++k)
                    row[k * C + c] = x[(k * w.stride + q - w.pad) * C + c];
            for (ptrdiff_t k = end * C; k < length; ++k) row[k] = padding;
        }
    }
};

// C less than a vector: the lanes of a vector are windows of a row, and their channels.
template <class T>
inline void max_pool_windows(T* y, int64_t* argmax, const T* x, const Pooling& p, ptrdiff_t first,
                             ptrdiff_t end) {
    using I = typename vector_traits<T>::integer;
    constexpr ptrdiff_t L = lanes<T>;
    const ptrdiff_t W = p.w.in, C = p.C, used = p.w.out * C;
    const SpreadRow spread(p.w, C);
    const ptrdiff_t size = spread.size() + L, slots = smaller(p.h.taps, p.h.in);
    const Scratch row_memory(slots * size * sizeof(T)), column_memory((used + L) * sizeof(I)),
        start_memory(slots * sizeof(ptrdiff_t)), tap_memory(p.w.taps * sizeof(ptrdiff_t));
    T* const rows = row_memory.as<T>();
    I* const columns = column_memory.as<I>();  // of tap 0, it may be padding
    for (ptrdiff_t k = 0; k < used + L; ++k) columns[k] = I(k / C * p.w.stride - p.w.pad);
    ptrdiff_t *const starts = start_memory.as<ptrdiff_t>(), *const taps = tap_memory.as<ptrdiff_t>();
    for (ptrdiff_t t = 0; t < p.w.taps; ++t) taps[t] = spread.offset(t);

    ptrdiff_t filled = 0;  // rows of the image that have been spread
    for (ptrdiff_t r = first; r < end; ++r) {
        const T* const image = x + r / p.h.out * p.h.in * W * C;
        const Span h = under(p.h, r % p.h.out);
        if (r % p.h.out == 0) filled = 0;
        for (ptrdiff_t k = larger(h.begin, filled); k < h.end; ++k)
            spread.fill(rows + k % slots * size, image + k * W * C, -T(__builtin_inff()));
        filled = h.end;
        for (ptrdiff_t k = h.begin; k < h.end; ++k) starts[k - h.begin] = k % slots * size;

        for (ptrdiff_t j = 0; j < used; j += L) {
            const Int<T> column = as_int<T>(load<T>(reinterpret_cast<const T*>(columns + j)));
            // The other taps meet padding in every lane.
            const ptrdiff_t t0 = larger(0, -columns[j + L - 1]), t1 = smaller(p.w.taps, W - columns[j]);
            Best<T> best{splat(-T(__builtin_inff())), max(column, Int<T>{}) + pixel_number<T>(h.begin * W)};
            Int<T> first_pixel = column + pixel_number<T>(h.begin * W + t0);
            const ptrdiff_t* start = starts;
            do {
                const T* const row = rows + *start + j;
                Int<T> pixel = first_pixel;
                const ptrdiff_t* tap = taps + t0;
                do {
                    best.meet(load<T>(row + *tap), pixel);
                    pixel += 1;
                } while (++tap != taps + t1);
                first_pixel += I(W);
            } while (++start != starts + h.end - h.begin);
            best.put_some(y + r * used + j, argmax + r * used + j, used - j);
        }
    }
}

// y and argmax (N, h.out, w.out, C); argmax is h * w.in + w in the image
template <class T>
void max_pool2d(T* y, int64_t* argmax, const T* x, Pooling p) {
    const ptrdiff_t cost = p.w.out * p.C * smaller(p.h.taps, p.h.in) * smaller(p.w.taps, p.w.in);
    for_blocks_of_rows(p.N * p.h.out, cost, [=](ptrdiff_t first, ptrdiff_t end) {
        if (p.C >= lanes<T>)
            max_pool_channels<T>(y, argmax, x, p, first, end);
        else
            max_pool_windows<T>(y, argmax, x, p, first, end);
    });
}

// Adds dy to the pixels that argmax tells, in `few` of an image's C channels. An index that is none of a
// pixel adds nothing, and the result is false. An index is read once: should another thread change it, it
// still is the one that was checked.
template <class T>
inline bool add_at_maxima(T* dx, const T* dy, const int64_t* argmax, ptrdiff_t pixels, ptrdiff_t windows,
                          ptrdiff_t C, ptrdiff_t few) {
    bool good = true;
    for (; windows > 0; --windows, dy += C, argmax += C)
        for (ptrdiff_t c = 0; c < few; ++c) {
            const auto pixel = std::size_t(__atomic_load_n(argmax + c, __ATOMIC_RELAXED));
            if (pixel < std::size_t(pixels))  // nor negative
                dx[ptrdiff_t(pixel) * C + c] += dy[c];
            else
                good = false;
        }
    return good;
}

// dx (N, pixels, C) from dy and argmax (N, windows, C), an image in one task, or, if there are few, some of
// its channels. Returns whether every index is that of a pixel.
template <class T>
bool max_pool2d_backward(T* dx, const T* dy, const int64_t* argmax, ptrdiff_t N, ptrdiff_t pixels,
                         ptrdiff_t windows, ptrdiff_t C) {
    const ptrdiff_t most = N < 16 ? 64 : larger(C, 1), blocks = ceil_div(C, most);
    const Scratch scratch(N * blocks);
    unsigned char* const good = scratch.as<unsigned char>();
    parallel_for(N * blocks, [=](ptrdiff_t task) {
        const ptrdiff_t n = task / blocks, c = task % blocks * most, few = smaller(C - c, most);
        T* const image = dx + n * pixels * C + c;
        const ptrdiff_t runs = few == C ? 1 : pixels, run = few == C ? pixels * C : few;
        for (ptrdiff_t p = 0; p < runs; ++p)
            for (ptrdiff_t k = 0; k < run; ++k) image[p * C + k] = 0;
        const ptrdiff_t from = n * windows * C + c;
        good[task] = add_at_maxima(image, dy + from, argmax + from, pixels, windows, C, few);
    });
    for (ptrdiff_t task = 0; task < N * blocks; ++task)
        if (!good[task]) return false;
    return true;
}

}  // namespace
}  // namespace closedform::CF_ISA
