// int8 and bfloat16 products by AMX, for the avx512 set: 16 rows times 16 columns, 64 or 32 k, an instruction.
//
// Panels and converted rows (kernels.h) stand as tiles of 16 rows of 64 bytes want them: a row of a tile of weights is
// one group of k of a vector, a row of a tile of rows has 16 groups. A block of sums is two tiles of rows times two
// vectors, or times one vector with both planes of the rows. What a last tile lacks of k are zeros, copied beside.
//
// int8: tdpbsud's sums are exact, so the bits are those of every other set of kernels. Few rows leave a tile empty:
// they are vpdpbusd's.
//
// bfloat16: what tdpbf16ps computes, each line rounded once to the nearest float, even in a tie, for 32 k, of which the
// last may be zeros (found so on a Xeon of 2024, by random operands and the edges):
//
//   even = 0, odd = 0;  for each pair of k, ascending:  even = a[2i] * w[2i] + even
//                                                       odd  = a[2i+1] * w[2i+1] + odd
//   sum = (even + odd) + sum
//
// Numbers below 2^-126 count as zeros, operands, products and sums. sum begins with 0; the initial value is added last.
//
// A thread's tiles are set up for a product and given back behind it, since with tiles in use it takes longer to put a
// thread aside. Who may use them: features.h.
#include <immintrin.h>

#include "sets.h"

namespace rnnkernels::cpu {
namespace {

constexpr int kLanes = 16;
constexpr int kTileRows = 16;
constexpr Index kTileGroups = 16;
constexpr int kBlockRows = 2 * kTileRows;
static_assert(kMostLowRows <= 2 * kBlockRows);
constexpr int kVnniRows = 3;  // so many rows of int8 take vpdpbusd no longer than tiles

// The shapes of tiles 0 to 7, as the processor reads them: sums of `count` rows (0 and 2 those of the first 16 rows, 1
// and 3 of the others), rows likewise (4, 5), weights (6, 7).
struct alignas(64) TileShapes {
    std::uint8_t palette = 1, start = 0;
    std::uint8_t reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {};

    explicit TileShapes(int count) {
        const int first = count < kTileRows ? count : kTileRows, others = count > first ? count - first : 1;
        for (int tile = 0; tile < 6; ++tile) rows[tile] = static_cast<std::uint8_t>(tile % 2 == 0 ? first : others);
        rows[6] = rows[7] = kTileGroups;
    }
};

// What of a block's operands stands in the last groups, with zeros behind it.
struct alignas(64) Last {
    float rows[2][kMostLowRows][kTileGroups];  // of each plane
    float weights[2][kTileGroups][kLanes];     // of each vector
};

// Of one vector of columns: where its weights stand, lanes from one group to the next, its scales (int8), its outputs.
struct Vector {
    const float* weights;
    Index step;
    const float* scales;
    Index column;
};

enum class Block { one, vectors, planes };  // one vector; two; one with both planes of the rows

struct BlockAt {
    int first;  // of the product's rows
    int count;
    Vector vector[2];
};

// Tile c += tile a times tile b. The tiles' numbers must stand in the text.
#define RNNKERNELS_TILE_ADD(c, a, b)           \
    if constexpr (kind == WeightStorage::int8) \
        _tile_dpbsud(c, a, b);                 \
    else                                       \
        _tile_dpbf16ps(c, a, b)

// Sixteen groups of k: rows of each plane and weights of each vector, both with bytes from one row of a tile to the
// next.
template <WeightStorage kind, Block block, bool two>
__attribute__((always_inline)) inline void add_groups(const float* rows, const float* second_plane, Index row,
                                                      const float* weights, Index step, const float* other,
                                                      Index other_step) {
    const auto load_rows = [row](const float* from) __attribute__((always_inline)) {
        _tile_loadd(4, from, row);
        if constexpr (two) _tile_loadd(5, from + kTileRows * row / 4, row);
    };
    _tile_loadd(6, weights, step);
    load_rows(rows);
    RNNKERNELS_TILE_ADD(0, 4, 6);
    if constexpr (two) {
        RNNKERNELS_TILE_ADD(1, 5, 6);
    }
    if constexpr (block == Block::vectors) {
        _tile_loadd(7, other, other_step);
        RNNKERNELS_TILE_ADD(2, 4, 7);
        if constexpr (two) {
            RNNKERNELS_TILE_ADD(3, 5, 7);
        }
    }
    if constexpr (block == Block::planes) {
        load_rows(second_plane);
        RNNKERNELS_TILE_ADD(2, 4, 6);
        if constexpr (two) {
            RNNKERNELS_TILE_ADD(3, 5, 6);
        }
    }
}

#undef RNNKERNELS_TILE_ADD

// The sums of a block, [vector or plane][row][lane].
template <WeightStorage kind, Block block, bool two>
void multiply(const LowProduct& of, const BlockAt& at, const Last& last, float (*sums)[kBlockRows][kLanes]) {
    const Index groups = groups_of(of.k, kind), full = groups / kTileGroups * kTileGroups;
    const float* const rows = of.rows + at.first * of.row_stride;
    const Vector &v = at.vector[0], &w = at.vector[block == Block::vectors ? 1 : 0];
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (Index group = 0; group < full; group += kTileGroups)
        add_groups<kind, block, two>(rows + group, rows + groups + group, of.row_stride * 4, v.weights + group * v.step,
                                     v.step * 4, w.weights + group * w.step, w.step * 4);
    if (full < groups)
        add_groups<kind, block, two>(last.rows[0][at.first], last.rows[1][at.first], kTileGroups * 4,
                                     last.weights[0][0], kLanes * 4, last.weights[1][0], kLanes * 4);
    _tile_stored(0, sums[0], kLanes * 4);
    if constexpr (two) _tile_stored(1, sums[0][kTileRows], kLanes * 4);
    if constexpr (block != Block::one) {
        _tile_stored(2, sums[1], kLanes * 4);
        if constexpr (two) _tile_stored(3, sums[1][kTileRows], kLanes * 4);
    }
}

__m512 number(const float* sum, const float* correction) {
    return _mm512_cvtepi32_ps(
        _mm512_add_epi32(_mm512_castps_si512(_mm512_load_ps(sum)), _mm512_castps_si512(_mm512_set1_ps(*correction))));
}

// What kernels.h says is made of the sums.
template <WeightStorage kind, Block block>
void finish(const LowProduct& of, const BlockAt& at, const float (*sums)[kBlockRows][kLanes]) {
    for (int i = 0; i < (block == Block::vectors ? 2 : 1); ++i) {
        const Vector& v = at.vector[i];
        const float* init = of.init + at.first * of.init_stride + v.column;
        float* out = of.out + at.first * of.out_stride + v.column;
        if constexpr (kind == WeightStorage::int8) {
            const __m512 column = _mm512_loadu_ps(v.scales);
            const __m512 second = block == Block::planes ? _mm512_loadu_ps(v.scales + v.step) : column;
            const float* row = of.rows + at.first * of.row_stride + of.planes * groups_of(of.k, kind);
            for (int r = 0; r < at.count; ++r, row += of.row_stride, init += of.init_stride, out += of.out_stride) {
                const __m512 scale = _mm512_set1_ps(*row);
                __m512 total = _mm512_fmadd_ps(number(sums[i][r], row + 1), scale, _mm512_setzero_ps());
                if constexpr (block == Block::planes)
                    total = _mm512_fmadd_ps(number(sums[1][r], row + 2), _mm512_mul_ps(scale, second), total);
                _mm512_storeu_ps(out, _mm512_fmadd_ps(total, column, _mm512_loadu_ps(init)));
            }
        } else {
            for (int r = 0; r < at.count; ++r, init += of.init_stride, out += of.out_stride)
                _mm512_storeu_ps(out, _mm512_add_ps(_mm512_load_ps(sums[i][r]), _mm512_loadu_ps(init)));
        }
    }
}

// All rows, a block of at most kBlockRows at a time: all of them with the weights that the first has read.
template <WeightStorage kind, Block block>
void run_block(const LowProduct& of, BlockAt& at, Last& last, int& set_up) {
    const Index groups = groups_of(of.k, kind), full = groups / kTileGroups * kTileGroups;
    if (full < groups)
        for (int i = 0; i < (block == Block::vectors ? 2 : 1); ++i)
            for (Index group = 0; group < kTileGroups; ++group) {
                const float* const from = at.vector[i].weights + (full + group) * at.vector[i].step;
                _mm512_store_ps(last.weights[i][group],
                                full + group < groups ? _mm512_loadu_ps(from) : _mm512_setzero_ps());
            }
    asm volatile("" ::: "memory");  // GCC's loads of tiles do not say that they read memory
    const int most = of.count > kBlockRows ? (of.count + 1) / 2 : of.count;
    for (at.first = 0; at.first < of.count; at.first += most) {
        at.count = of.count - at.first < most ? of.count - at.first : most;
        if (at.count != set_up) {
            const TileShapes shapes(at.count);
            _tile_loadconfig(&shapes);
            set_up = at.count;
        }
        alignas(64) float sums[2][kBlockRows][kLanes];
        at.count > kTileRows ? multiply<kind, block, true>(of, at, last, sums)
                             : multiply<kind, block, false>(of, at, last, sums);
        finish<kind, block>(of, at, sums);
    }
}

Vector vector_at(const LowProduct& of, Index number, int head) {
    const Index panel = number / of.width, first = panel * of.width, left = of.vectors - first;
    const Index step = (left < of.width ? left : of.width) * kLanes;
    const float* const scales = of.panels + panel * of.panel_size + (number - first) * kLanes;
    return {scales + head * step, step, scales, number * kLanes};
}

// Whether a lane of the vector has a second plane.
bool has_second(const LowProduct& of, const Vector& v) {
    return of.planes == 2 &&
           _mm512_test_epi32_mask(_mm512_loadu_si512(v.scales + v.step), _mm512_loadu_si512(v.scales + v.step)) != 0;
}

template <WeightStorage kind>
void product_of_tiles(const LowProduct& of) {
    const Index groups = groups_of(of.k, kind), left = groups % kTileGroups;
    Last last;
    for (int plane = 0; left > 0 && plane < of.planes; ++plane) {
        const auto mask = static_cast<__mmask16>((1U << left) - 1);
        const float* from = of.rows + (plane + 1) * groups - left;
        for (int r = 0; r < of.count; ++r, from += of.row_stride)
            _mm512_store_ps(last.rows[plane][r], _mm512_maskz_loadu_ps(mask, from));
    }
    const int head = panel_head(kind, of.planes);
    int set_up = 0;  // the rows that tiles are set up for
    for (Index number = 0; number < of.vectors;) {
        BlockAt at{};
        at.vector[0] = vector_at(of, number++, head);
        if (has_second(of, at.vector[0])) {
            run_block<kind, Block::planes>(of, at, last, set_up);
            continue;
        }
        if (number < of.vectors) {
            at.vector[1] = vector_at(of, number, head);
            if (!has_second(of, at.vector[1])) {
                ++number;
                run_block<kind, Block::vectors>(of, at, last, set_up);
                continue;
            }
        }
        run_block<kind, Block::one>(of, at, last, set_up);
    }
    _tile_release();
}

void convert_int8(const float* a, Index a_stride, Index rows, Index k, int planes, float* to, Index to_stride) {
    low::avx512_vnni.convert(a, a_stride, rows, k, planes, to, to_stride);
}
void convert_bfloat16(const float* a, Index a_stride, Index rows, Index k, int planes, float* to, Index to_stride) {
    low::avx512_bf16.convert(a, a_stride, rows, k, planes, to, to_stride);
}

void product_int8(const LowProduct& of) {
    if (of.count <= kVnniRows || of.k > kScaleBlock) return low::avx512_vnni.product(of);
    product_of_tiles<WeightStorage::int8>(of);
}

}  // namespace

namespace low {

const LowKernels amx_int8{"amx_int8", WeightStorage::int8, kLanes, 128, kMostLowRows, 8, convert_int8, product_int8};
const LowKernels amx_bf16{"amx_bf16",       WeightStorage::bfloat16,
                          kLanes,           0,
                          kBlockRows,       4,
                          convert_bfloat16, product_of_tiles<WeightStorage::bfloat16>};

}  // namespace low
}  // namespace rnnkernels::cpu
