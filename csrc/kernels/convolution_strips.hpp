// Strips of a walk: rows of y, and a zero-padded copy in L2 of the inputs that they need. In the copy the
// patch of every pixel of y is laid out alike, so no loop over taps asks where the image ends.
#pragma once

#include "convolution_walk.hpp"

namespace closedform::CF_ISA {
namespace {

// An output pixel: where its patch begins, and where its channels go.
template <class T>
struct Pixel {
    const T* patch;
    T* y;
};

inline constexpr ptrdiff_t strip_bytes = 192 << 10;  // of x and y that a task keeps in L2

template <class T>
struct Strips {
    Walk<T> walk;
    bool in_place;           // nothing to copy: no patch reaches into the padding
    ptrdiff_t row, pixel;    // distances of rows and pixels, in the copy or in x
    ptrdiff_t rows, count;   // of y in a strip, counted over all images, and the number of strips
    ptrdiff_t size, pixels;  // of a strip: elements of the copy, pixels of y

    // At least `tasks` strips, as far as there are rows.
    Strips(const Walk<T>& w, ptrdiff_t tasks) : walk(w) {
        const Axis &h = walk.h, &v = walk.w;
        in_place = !h.padded() && !v.padded();
        pixel = in_place ? walk.x.pixel : walk.C;
        row = in_place ? walk.x.row : v.span(v.out) * walk.C;
        const ptrdiff_t total = walk.N * h.out;
        const ptrdiff_t row_bytes =
            (h.stride * v.span(v.out) * walk.C + v.out * walk.K) * ptrdiff_t(sizeof(T));
        rows = larger(1, smaller(ceil_div(total, tasks), strip_bytes / row_bytes));
        rows = ceil_div(total, ceil_div(total, rows));
        count = ceil_div(total, rows);
        const ptrdiff_t images = smaller(walk.N, rows / h.out + 2);  // that a strip can touch
        size = in_place ? 0 : smaller(images * h.span(h.out), rows * h.stride + images * h.reach()) * row;
        pixels = rows * v.out;
    }

    // From the first input of a patch to that of tap (r, s).
    ptrdiff_t offset(ptrdiff_t r, ptrdiff_t s) const {
        return r * walk.h.step * row + s * walk.w.step * pixel;
    }

    // Strip `index`: copies its inputs and lists its pixels; returns how many there are.
    ptrdiff_t load(T* strip, Pixel<T>* pixel_list, ptrdiff_t index) const {
        const ptrdiff_t begin = index * rows, end = smaller(walk.N * walk.h.out, begin + rows);
        load_rows(strip, pixel_list, begin, end);
        return (end - begin) * walk.w.out;
    }

    // One row of the strip: row `i` of image n, with zeros where there is no input.
    void copy_row(T* to, ptrdiff_t n, ptrdiff_t i) const {
        const ptrdiff_t C = walk.C, columns = walk.w.span(walk.w.out), first = walk.w.first_in;
        if (i < 0 || i >= walk.h.in) {
            __builtin_memset(to, 0, columns * C * sizeof(T));
            return;
        }
        const auto [begin, end] = inside(first, columns, walk.w.in);
        const T* from = walk.x.p + n * walk.x.image + i * walk.x.row + (first + begin) * walk.x.pixel;
        __builtin_memset(to, 0, begin * C * sizeof(T));
        if (walk.x.pixel == C)
            copy(to + begin * C, from, (end - begin) * C);
        else
            for (ptrdiff_t p = begin; p < end; ++p, from += walk.x.pixel)
                for (ptrdiff_t c = 0; c < C; ++c) to[p * C + c] = from[c];
        __builtin_memset(to + end * C, 0, (columns - end) * C * sizeof(T));
    }

    // Rows [t0, t1) of y, counted over all images: copies what they need into the strip, and lists their
    // pixels.
    void load_rows(T* strip, Pixel<T>* pixel_list, ptrdiff_t t0, ptrdiff_t t1) const {
        const Axis &h = walk.h, &v = walk.w;
        for (ptrdiff_t t = t0; t < t1;) {
            const ptrdiff_t n = t / h.out, o = t % h.out, count = smaller(t1 - t, h.out - o);
            const ptrdiff_t first = h.first_in + o * h.stride;
            const T* patch = strip;
            if (in_place)
                patch = walk.x.p + n * walk.x.image + first * row + v.first_in * pixel;
            else
                for (ptrdiff_t i = 0; i < h.span(count); ++i, strip += row) copy_row(strip, n, first + i);
            for (ptrdiff_t i = 0; i < count; ++i)
                for (ptrdiff_t p = 0; p < v.out; ++p)
                    *pixel_list++ = {patch + i * h.stride * row + p * v.stride * pixel,
                                     walk.output(n, o + i, p)};
            t += count;
        }
    }
};

}  // namespace
}  // namespace closedform::CF_ISA
