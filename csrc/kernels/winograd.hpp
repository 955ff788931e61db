// conv2d by Winograd's minimal filtering: 3x3 taps, stride 1, no dilation; forward, and backward-data.
//
// y is cut in tiles of M x M, for which (M + 2)^2 products per pair of channels do the work of 9 M^2.
// Channels are contiguous, so the transforms (winograd_transforms.hpp) are plain vector arithmetic over them,
// and the products are as many small matrix products on the tile kernel. For e = 0 ... (M + 2)^2 - 1:
//
//   U[e] (C, K) from the weights    V[e] (tiles, C) from the inputs    Z[e] = V[e] @ U[e]    y from Z
//
// The smaller of U and V is made once per call and shared. Tasks cut the other: blocks of tiles where tiles
// are many, else groups of panels of U; a task makes its part and uses it while it is in L2. All cuts depend
// on the sizes alone, so the bits do not depend on the number of threads.
#pragma once

#include "convolution_walk.hpp"
#include "winograd_transforms.hpp"

namespace closedform::CF_ISA {
namespace {

// A walk by tiles of M x M: U[e][panel][C][NR], V[e][tile][v_row], Z[e][tile][z_row].
template <int M, class T>
struct Winograd {
    static constexpr ptrdiff_t span = M + 2, products = span * span, NR = tile_columns<T>, MR = tile_rows;
    static constexpr ptrdiff_t block_tiles = M == 2 ? 48 : 24;  // so many use a row of U read from L3
    static constexpr ptrdiff_t block_columns = 128;             // of Z at a time
    static constexpr ptrdiff_t block_channels = 128;            // a chain of sums: with 256 the error doubles
    static constexpr ptrdiff_t most_tasks = 16, most_panels = 2;  // U of 2 panels: 1 MB for C = 512

    Walk<T> walk;
    ptrdiff_t tiles_h, tiles_w, tiles;    // of an image, and of all
    ptrdiff_t panels;                     // of NR columns of U
    bool many_tiles;                      // tasks are blocks of tiles
    ptrdiff_t block, group;               // tiles in a V and Z, panels in a Z
    ptrdiff_t v_row, z_row;               // C and the columns of Z, rounded up
    ptrdiff_t u_plane, v_plane, z_plane;  // from e to e + 1

    explicit Winograd(const Walk<T>& w) : walk(w) {
        tiles_h = ceil_div(walk.h.out, M);
        tiles_w = ceil_div(walk.w.out, M);
        tiles = walk.N * tiles_h * tiles_w;
        panels = ceil_div(walk.K, NR);
        many_tiles = tiles >= walk.K;
        const ptrdiff_t tasks = smaller(most_tasks, 2 * products * tiles * walk.C * walk.K / task_flops);
        block = many_tiles ? piece(tiles, larger(tasks, ceil_div(tiles, block_tiles)), MR) : tiles;
        group = many_tiles ? smaller(panels, block_columns / NR)
                           : smaller(most_panels, ceil_div(panels, most_tasks));
        v_row = ceil_div(walk.C, lanes<T>) * lanes<T>;
        z_row = group * NR;
        const ptrdiff_t line = 64 / sizeof(T);  // planes 4096 bytes apart would share a set of L1
        u_plane = (many_tiles ? panels : group) * walk.C * NR + line;
        v_plane = block * v_row + line;
        z_plane = block * z_row + line;
    }

    // U of n panels from `first`. A few channels at a time: packed by taps, then transformed while in L1.
    void make_u(T* u, ptrdiff_t first, ptrdiff_t n) const {
        constexpr ptrdiff_t channels = 32;
        Scratch scratch(9 * channels * NR * sizeof(T));
        T* const g = scratch.as<T>();  // [tap][cn][NR]
        for (ptrdiff_t p = 0; p < n; ++p)
            for (ptrdiff_t c = 0; c < walk.C; c += channels) {
                const ptrdiff_t cn = smaller(channels, walk.C - c), k = (first + p) * NR;
                for (ptrdiff_t t = 0; t < 9; ++t) {
                    const View<T> taps{walk.weight(t / 3, t % 3), walk.weights.in, walk.weights.out};
                    pack_panel<NR, T>(cn, smaller(NR, walk.K - k), taps.at(c, k), g + t * cn * NR);
                }
                T* const to = u + (p * walk.C + c) * NR;
                for (ptrdiff_t i = 0; i < cn * NR; i += lanes<T>)
                    transform_weights<M, T>(g + i, cn * NR, to + i, u_plane);
            }
    }

    // Where a tile begins: the image, and the row and column of y.
    struct Corner {
        ptrdiff_t n, h, w;
    };
    CF_INLINE Corner corner(ptrdiff_t tile) const {
        const ptrdiff_t row = tile / tiles_w;
        return {row / tiles_h, row % tiles_h * M, tile % tiles_w * M};
    }

    // The values of a tile that needs care, at an edge of the image or with a partial vector of channels:
    // inputs [span][span][v_row] or outputs [M][M][z_row].
    ptrdiff_t edge_size() const { return larger(span * span * v_row, M * M * z_row); }

    // edge = the inputs from (h, w), with zeros where the image ends
    void copy_inputs(const T* image, ptrdiff_t h, ptrdiff_t w, T* edge) const {
        for (ptrdiff_t i = h; i < h + span; ++i)
            for (ptrdiff_t j = w; j < w + span; ++j, edge += v_row) {
                const bool inside = i >= 0 && i < walk.h.in && j >= 0 && j < walk.w.in;
                const ptrdiff_t n = inside ? walk.C : 0;
                if (inside) copy(edge, image + i * walk.x.row + j * walk.x.pixel, n);
                __builtin_memset(edge + n, 0, (v_row - n) * sizeof(T));
            }
    }

    // V of the n tiles from t0
    void make_v(T* v, ptrdiff_t t0, ptrdiff_t n, T* edge) const {
        for (ptrdiff_t t = t0; t < t0 + n; ++t, v += v_row) {
            const Corner at = corner(t);
            const ptrdiff_t h = walk.h.first_in + at.h, w = walk.w.first_in + at.w;
            const T* const image = walk.x.p + at.n * walk.x.image;
            const bool inside = h >= 0 && h + span <= walk.h.in && w >= 0 && w + span <= walk.w.in;
            if (inside && v_row == walk.C) {
                const T* const from = image + h * walk.x.row + w * walk.x.pixel;
                for (ptrdiff_t c = 0; c < v_row; c += lanes<T>)
                    transform_input<M, T>(from + c, walk.x.row, walk.x.pixel, v + c, v_plane);
            } else {
                copy_inputs(image, h, w, edge);
                for (ptrdiff_t c = 0; c < v_row; c += lanes<T>)
                    transform_input<M, T>(edge + c, span * v_row, v_row, v + c, v_plane);
            }
        }
    }

    // z (rows, NR) = v (rows, C) @ u (C, NR), added to z unless `first`
    template <int R>
    CF_INLINE void multiply_tile(ptrdiff_t rows, ptrdiff_t C, const T* v, const T* u, T* z,
                                 bool first) const {
        if constexpr (R > 1)
            if (rows < R) return multiply_tile<R - 1>(rows, C, v, u, z, first);
        Vec<T> acc[R][tile_vectors] = {};
        tile<R, tile_vectors, T>(C, InPlace<T>{v, v_row, 1}, u, NR, acc);
        if (!first)
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
                for (int j = 0; j < tile_vectors; ++j) acc[r][j] += load<T>(z + r * z_row + j * lanes<T>);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
            for (int j = 0; j < tile_vectors; ++j) store<T>(z + r * z_row + j * lanes<T>, acc[r][j]);
    }

    // Z = V @ U for the first n tiles of V and the first pn panels of U
    void multiply(T* z, const T* v, const T* u, ptrdiff_t n, ptrdiff_t pn) const {
        const ptrdiff_t C = walk.C, channels = piece(C, ceil_div(C, block_channels), 1);
        for (ptrdiff_t e = 0; e < products; ++e, v += v_plane, u += u_plane, z += z_plane)
            for (ptrdiff_t c = 0; c < C; c += channels)
                for (ptrdiff_t p = 0; p < pn; ++p)
                    for (ptrdiff_t i = 0; i < n; i += MR)
                        multiply_tile<MR>(n - i, smaller(channels, C - c), v + i * v_row + c,
                                          u + (p * C + c) * NR, z + i * z_row + p * NR, c == 0);
    }

    // y = max(Z transformed + bias, low) for the n tiles from t0, and the channels from k that Z holds
    void make_y(const T* z, ptrdiff_t t0, ptrdiff_t n, ptrdiff_t k, const T* bias, T low, T* edge) const {
        const ptrdiff_t columns = smaller(z_row, walk.K - k);
        for (ptrdiff_t t = t0; t < t0 + n; ++t, z += z_row) {
            const Corner at = corner(t);
            const ptrdiff_t h = smaller(M, walk.h.out - at.h), w = smaller(M, walk.w.out - at.w);
            T* const y = walk.output(at.n, at.h, at.w) + k;
            if (h == M && w == M && columns % lanes<T> == 0) {
                for (ptrdiff_t j = 0; j < columns; j += lanes<T>)
                    transform_output<M, T>(z + j, z_plane, load<T>(bias + k + j), splat<T>(low), y + j,
                                           walk.y.row, walk.y.pixel);
                continue;
            }
            for (ptrdiff_t j = 0; j < columns; j += lanes<T>)
                transform_output<M, T>(z + j, z_plane, load<T>(bias + k + j), splat<T>(low), edge + j,
                                       M * z_row, z_row);
            for (ptrdiff_t i = 0; i < h; ++i)
                for (ptrdiff_t j = 0; j < w; ++j)
                    copy(y + i * walk.y.row + j * walk.y.pixel, edge + (i * M + j) * z_row, columns);
        }
    }

    // U is shared; a task has a block of tiles, and goes through the panels.
    void run_blocks(const T* bias, T low) const {
        Scratch shared(products * u_plane * sizeof(T));
        T* const u = shared.as<T>();
        parallel_for(panels, [=, *this](ptrdiff_t p) { make_u(u + p * walk.C * NR, p, 1); });
        parallel_for(ceil_div(tiles, block), [=, *this](ptrdiff_t task) {
            Scratch scratch((products * (v_plane + z_plane) + edge_size()) * sizeof(T));
            T *const v = scratch.as<T>(), *const z = v + products * v_plane,
                     *const edge = z + products * z_plane;
            const ptrdiff_t t0 = task * block, n = smaller(block, tiles - t0);
            make_v(v, t0, n, edge);
            for (ptrdiff_t p = 0; p < panels; p += group) {
                multiply(z, v, u + p * walk.C * NR, n, smaller(group, panels - p));
                make_y(z, t0, n, p * NR, bias, low, edge);
            }
        });
    }

    // V is shared; a task has a group of panels, and all tiles.
    void run_groups(const T* bias, T low) const {
        Scratch shared(products * v_plane * sizeof(T));
        T* const v = shared.as<T>();
        parallel_for(ceil_div(tiles, block_tiles), [=, *this](ptrdiff_t task) {
            Scratch edge(edge_size() * sizeof(T));
            const ptrdiff_t t0 = task * block_tiles;
            make_v(v + t0 * v_row, t0, smaller(block_tiles, tiles - t0), edge.as<T>());
        });
        parallel_for(ceil_div(panels, group), [=, *this](ptrdiff_t task) {
            Scratch scratch((products * (u_plane + z_plane) + edge_size()) * sizeof(T));
            T *const u = scratch.as<T>(), *const z = u + products * u_plane,
                     *const edge = z + products * z_plane;
            const ptrdiff_t p = task * group, pn = smaller(group, panels - p);
            make_u(u, p, pn);
            multiply(z, v, u, tiles, pn);
            make_y(z, 0, tiles, p * NR, bias, low, edge);
        });
    }

    // b (K,) or null
    void run(const T* b, T low) const {
        Scratch padded(panels * NR * sizeof(T));
        T* const bias = padded.as<T>();
        for (ptrdiff_t k = 0; k < panels * NR; ++k) bias[k] = b && k < walk.K ? b[k] : T(0);
        many_tiles ? run_blocks(bias, low) : run_groups(bias, low);
    }
};

// Whether a walk can go by tiles.
template <class T>
inline bool winograd_applies(const Walk<T>& walk) {
    const auto fits = [](const Axis& v) {
        return v.taps == 3 && v.stride == 1 && v.step == 1 && v.out_step == 1;
    };
    return fits(walk.h) && fits(walk.w);
}

// Whether F(2x2) is faster than direct convolution, for one image: an image's bits must not depend on the
// others in its batch. In multiply-adds: 9 a pixel and pair of channels, where the direct kernel computes
// whole panels and the narrow one does not, against the products of all tiles and the transforms, worth 8 an
// element of V and Z and 10 an element of U (measured).
template <class T>
inline bool winograd_pays(const Walk<T>& walk) {
    const Winograd<2, T> plan(walk);
    const ptrdiff_t C = walk.C, K = plan.panels * plan.NR, tiles = plan.tiles_h * plan.tiles_w;
    const ptrdiff_t direct = 9 * walk.h.out * walk.w.out * C * (is_narrow(walk) ? walk.K : K);
    return direct > plan.products * (tiles * (C * K + 8 * (C + K)) + 10 * C * K);
}

// y = max(the walk's sums + b, low); b may be null
template <int M, class T>
inline void winograd(const Walk<T>& walk, const T* b, T low) {
    Winograd<M, T>(walk).run(b, low);
}

}  // namespace
}  // namespace closedform::CF_ISA
