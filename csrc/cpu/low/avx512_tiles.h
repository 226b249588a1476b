// How products of AVX-512 kernels are cut into tiles: rows and columns, never a sum. Included by files of kernels,
// whose Tile has
//   run<rows, vectors, panels>(of, at)    rows x vectors, of one panel, or of two side by side
//   rows_of(vectors)                      the most rows of a tile
#pragma once

#include <immintrin.h>

#include "kernels.h"

namespace rnnkernels::cpu {
namespace {

constexpr int kLanes = 16;

// Where a tile stands.
struct TileAt {
    const float* rows;
    const float* panel;  // at the tile's first vector
    Index width;         // vectors of the panel
    const float* init;
    float* out;
};

template <class Tile, int vectors, int panels, int rows = 1>
__attribute__((always_inline)) inline void run_tile(const LowProduct& of, const TileAt& at, int count) {
    if constexpr (rows < (panels > 1 ? 1 : Tile::rows_of(vectors)))
        if (count > rows) return run_tile<Tile, vectors, panels, rows + 1>(of, at, count);
    Tile::template run<rows, vectors, panels>(of, at);
}

// All rows, in tiles that are as even as can be.
template <class Tile, int vectors, int panels = 1>
__attribute__((noinline)) void run_rows(const LowProduct& of, TileAt at) {
    constexpr int most = Tile::rows_of(vectors);
    for (int left = of.count; left > 0;) {
        const int tiles = (left + most - 1) / most, rows = (left + tiles - 1) / tiles;
        run_tile<Tile, vectors, panels>(of, at, rows);
        at.rows += rows * of.row_stride;
        at.init += rows * of.init_stride;
        at.out += rows * of.out_stride;
        left -= rows;
    }
}

template <class Tile>
void run_product(const LowProduct& of) {
    for (Index vector = 0; vector < of.vectors;) {
        const Index left = of.vectors - vector;
        const int width = static_cast<int>(left < of.width ? left : of.width);
        const float* const panel = of.panels + vector / of.width * of.panel_size;
        TileAt at{of.rows, panel, width, of.init + vector * kLanes, of.out + vector * kLanes};
        // One row has too few sums in a panel to hide how long an instruction takes.
        if (of.count == 1 && width >= 3 && left >= 2 * width) {
            width == 4 ? run_rows<Tile, 4, 2>(of, at) : run_rows<Tile, 3, 2>(of, at);
            vector += 2 * width;
            continue;
        }
        switch (width) {
            case 1: run_rows<Tile, 1>(of, at); break;
            case 2: run_rows<Tile, 2>(of, at); break;
            case 3: run_rows<Tile, 3>(of, at); break;
            default: run_rows<Tile, 4>(of, at); break;
        }
        vector += width;
    }
}

// The sums of a tile, before and behind it.
template <int rows, int vectors, int panels>
__attribute__((always_inline)) inline void each_sum(auto use) {
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 16
        for (int p = 0; p < panels; ++p)
#pragma GCC unroll 16
            for (int v = 0; v < vectors; ++v) use(r, p, v);
}

}  // namespace
}  // namespace rnnkernels::cpu
