// How a depthwise convolution is cut: rows of pixels in runs that read inside the image, and tasks.
//
// Unlike in the strips of the direct kernel, images are read in place and taps that fall outside are left
// out: there are too few products to an element to pay for a copy.
#pragma once

#include "convolution_walk.hpp"

namespace closedform::CF_ISA {
namespace {

// The taps of output o that read inside the image.
CF_INLINE Range taps_inside(const Axis& a, ptrdiff_t o) {
    const ptrdiff_t first = a.first_in + o * a.stride, end = smaller(a.taps, steps_to(a.in, first, a.step));
    return {smaller(end, steps_to(0, first, a.step)), end};
}

// The outputs whose taps all read inside.
CF_INLINE Range outputs_inside(const Axis& a) {
    const ptrdiff_t end = smaller(a.out, steps_to(a.in - a.reach() + 1, a.first_in, a.stride));
    return {smaller(end, steps_to(0, a.first_in, a.stride)), end};
}

// f(j, t) for runs j of at most `most` of the outputs, with the taps t: all taps where they read inside, and
// at the borders output by output those that do.
template <class F>
CF_INLINE void for_runs(const Axis& a, Range outputs, ptrdiff_t most, const F& f) {
    const Range whole = outputs_inside(a);
    ptrdiff_t n;
    for (ptrdiff_t j = outputs.begin; j < outputs.end; j += n) {
        n = whole.has(j) ? smaller(most, smaller(outputs.end, whole.end) - j) : 1;
        f(Range{j, j + n}, whole.has(j) ? Range{0, a.taps} : taps_inside(a, j));
    }
}

// One axis of a gather, whose outputs p, p + n, p + 2 n, ... read as phase p of n says.
struct Phases {
    const Axis* axes;
    ptrdiff_t n;

    CF_INLINE const Axis& of(ptrdiff_t o) const { return axes[o % n]; }
    ptrdiff_t in() const { return axes->in; }

    // Where the outputs read: nothing outside this range.
    Range reads(Range outputs) const {
        Range all{in(), 0};
        const auto add = [&](ptrdiff_t o) {
            const Axis& a = of(o);
            const ptrdiff_t first = a.first_in + o / n * a.stride;
            if (a.taps) all = {smaller(all.begin, first), larger(all.end, first + a.reach())};
        };
        for (ptrdiff_t k = 0; k < smaller(n, outputs.size()); ++k) {
            add(outputs.begin + k);
            add(outputs.end - 1 - k);
        }
        const ptrdiff_t begin = smaller(in(), larger(0, all.begin));
        return {begin, larger(begin, smaller(in(), all.end))};
    }
};

// Rows of an image (., W, C), of which some columns are read. They are copied in two cases: if a vector is
// longer than a pixel, for then the last one reads beyond the image; and if pixels lie a multiple of 2 KiB
// apart, for then neighbours evict each other from L1.
template <class T>
class PixelRows {
  public:
    PixelRows(const T* image, Range rows, Range columns, ptrdiff_t W, ptrdiff_t C)
        : PixelRows(image, rows, columns, W, C,
                    C < lanes<T>     ? C
                    : C % alias == 0 ? C + line
                                     : 0) {}

    const ptrdiff_t pixel, row;  // distances
    CF_INLINE const T* at(ptrdiff_t i, ptrdiff_t j) const {
        return data + (i - first_row) * row + (j - first_column) * pixel;
    }

  private:
    static constexpr ptrdiff_t alias = ptrdiff_t(2048 / sizeof(T)), line = ptrdiff_t(64 / sizeof(T));
    const Scratch memory;
    const T* data;
    ptrdiff_t first_row, first_column;

    // `apart`: the distance of pixels in the copy, or 0 for none
    PixelRows(const T* image, Range rows, Range columns, ptrdiff_t W, ptrdiff_t C, ptrdiff_t apart)
        : pixel(apart ? apart : C),
          row(apart ? columns.size() * apart : W * C),
          memory(apart ? (rows.size() * row + lanes<T>)*sizeof(T) : 0),
          data(apart ? memory.as<T>() : image),
          first_row(apart ? rows.begin : 0),
          first_column(apart ? columns.begin : 0) {
        if (!apart) return;
        T* to = memory.as<T>();
        for (ptrdiff_t i = rows.begin; i < rows.end; ++i, to += row) {
            const T* const from = image + (i * W + columns.begin) * C;
            if (pixel == C)
                copy(to, from, columns.size() * C);
            else
                for (ptrdiff_t j = 0; j < columns.size(); ++j) copy(to + j * pixel, from + j * C, C);
        }
    }
};

// An (N, H, W) grid of pixels in blocks, `each` of them a task.
struct PixelBlocks {
    ptrdiff_t N, H, W, rows, columns, down, across, each;

    // `flops` of a pixel; the columns of a block are a multiple of `unit`
    PixelBlocks(ptrdiff_t N_, ptrdiff_t H_, ptrdiff_t W_, ptrdiff_t flops, ptrdiff_t unit,
                ptrdiff_t most_tasks)
        : N(N_), H(H_), W(W_) {
        columns = piece(W, W * flops / task_flops, unit);
        rows = piece(H, ceil_div(H, larger(1, task_flops / (columns * flops))), 1);
        down = ceil_div(H, rows);
        across = ceil_div(W, columns);
        each = larger(1, task_flops / (rows * columns * flops));
        each = larger(each, ceil_div(N * down * across, most_tasks));
    }

    ptrdiff_t tasks() const { return ceil_div(N * down * across, each); }

    // f(task, n, rows, columns) for every block
    template <class F>
    void for_blocks(const F& f) const {
        parallel_for(tasks(), [this, &f](ptrdiff_t task) {
            const ptrdiff_t end = smaller(N * down * across, (task + 1) * each);
            for (ptrdiff_t k = task * each; k < end; ++k) {
                const ptrdiff_t i = k / across % down * rows, j = k % across * columns;
                f(task, k / across / down, Range{i, smaller(H, i + rows)}, Range{j, smaller(W, j + columns)});
            }
        });
    }
};

}  // namespace
}  // namespace closedform::CF_ISA
