// Products in low precision: the interface of a set of kernels, and which of them serve.
//
// A set of kernels is one file (avx512_vnni.cpp, ...) that is compiled with its own flags: processors of one
// instruction set of the engines differ in what they have for these products. All its functions are in an unnamed
// namespace. What it gets and gives are lanes of 32 bits; an engine's vector has `lanes` of them, and so has a kernel's
// that serves it.
//
//   out[r][v] = init[r][v] + sum over k of A[r][k] * W[k][v]          v counts columns
//
// Panels stand as those of float do (panels.h), [panel][group of k][vector][lane], the last panel maybe narrower: a
// lane holds the column's weights of a group of k, those behind the last k are zeros. Whoever packs is the engine
// (storage.h).
//
//   bfloat16   a group is 2 k, the first in the lane's lower half. The engine's sums are float.
//   int8       a group is 4 k, the first in the lowest byte: q + kernels.offset, q in [-127, 127]. Before the first
//              group a panel has a row of vectors with each column's scale, in float; where rows have two planes a
//              second one, with what the second plane's scale is multiplied by: 1/128, or 0 for a column without it.
//
// Rows are converted once for a phase (convert) and then multiplied with many panels. A converted row has row_lanes(k):
//
//   bfloat16   [group] pairs of k, as in the panels. Each number is rounded to the nearest bfloat16, to even in a tie.
//   A
//              NaN stays one. Numbers below 2^-126 count as zeros, in panels too.
//   int8       [plane][group] four k: q in [-127, 127], signed; then [block] (scale of float, a correction of int32 for
//              each plane). Numbers share a scale where they stand in one block, of kScaleBlock k: all of a row, unless
//              int32 could not hold its sum. Of a block with m = max |a|:
//                  m < kLeastScaled:  scale 0, all q 0
//                  m finite:          scale = m / 127, r = a * (127 / m), q = round half even(r); of the second plane
//                                     q = round half even((r - q of the first) * 128). Each operation in float
//                  m inf or NaN:      scale NaN, all q 0
//              correction = -offset * sum of the block's q
//
// What an int8 product computes, with the same bits in every set of kernels:
//
//   t = 0;  for each block, ascending:  t = fma(float(sum of the block's q_a * q_w), scale of the block, t)
//                                       t = fma(float(the same of the second plane), scale of the block / 128, t)
//   out = fma(t, scale of the column, init)
//
// the second line for columns that have it. The sum of a block is exact; fma is rounded once. So a row with a NaN has
// NaN in all of its products.
//
// What a bfloat16 product computes belongs to the set of kernels, which says it in its file; it is the same for a row
// whatever else is computed with it.
#pragma once

#include <cstdint>

#include "../../recurrence/problem.h"

namespace rnnkernels::cpu {

// Numbers of a row of int8 that share a scale.
inline constexpr Index kScaleBlock = 65536;
// What the last digit of the first plane is worth in those of the second.
inline constexpr float kSecondPlane = 128;
inline constexpr float kLeastScaled = 0x1p-100F;

// Rows of a product at most.
inline constexpr int kMostLowRows = 64;
// Vectors of a panel at most.
inline constexpr int kMostLowVectors = 4;

struct LowProduct {
    const float* rows;  // converted, (count, row_stride)
    Index row_stride;
    int count;            // in [1, kMostLowRows]
    int width;            // vectors of a panel
    const float* panels;  // the first of them; a panel has panel_size lanes
    Index panel_size;
    Index k;
    int planes;     // of the rows: 1 or 2; of int8 alone
    Index vectors;  // of columns, in all panels; at least 1
    const float* init;
    Index init_stride;  // 0: all rows start from the same values
    float* out;         // may be init
    Index out_stride;
};

struct LowKernels {
    const char* name;    // as rnnkernels.backends() shows it
    WeightStorage kind;  // bfloat16 or int8
    int lanes;           // of the engines that it serves
    int offset;          // of int8 weights in panels, 0 or 128; the same for all kernels of as many lanes
    int rows;            // of a product where there are many: more at once do not take less time each
    int rate;            // its multiply-adds in the time of one of float32, about: how calls are cut (../plan.h)
    // rows of k numbers, a_stride apart, to rows that are to_stride apart. planes: the product's.
    void (*convert)(const float* a, Index a_stride, Index rows, Index k, int planes, float* to, Index to_stride);
    void (*product)(const LowProduct& of);
};

// Always inlined: engines of all sets include this header, and no copy of theirs may serve another.
#define RNNKERNELS_LOW_INLINE __attribute__((always_inline)) constexpr

// k in a lane.
RNNKERNELS_LOW_INLINE Index group_of(WeightStorage kind) { return kind == WeightStorage::int8 ? 4 : 2; }
RNNKERNELS_LOW_INLINE Index groups_of(Index k, WeightStorage kind) { return (k + group_of(kind) - 1) / group_of(kind); }
RNNKERNELS_LOW_INLINE Index scale_blocks(Index k) { return (k + kScaleBlock - 1) / kScaleBlock; }
// Lanes of a converted row of k numbers; of int8 whole lines of the cache, so that all rows begin with one.
RNNKERNELS_LOW_INLINE Index row_lanes(Index k, WeightStorage kind, int planes) {
    return kind == WeightStorage::int8 ? (planes * groups_of(k, kind) + (1 + planes) * scale_blocks(k) + 15) / 16 * 16
                                       : groups_of(k, kind);
}
// Rows of a panel that stand before its first group.
RNNKERNELS_LOW_INLINE int panel_head(WeightStorage kind, int planes) {
    return kind == WeightStorage::int8 ? planes : 0;
}

// Sets of kernels have numbers from 1 on; 0 stands for none, full precision. This one serves engines of `set`'s name:
// the fastest that the processor has, or the one that was chosen. Every set has one for int8.
int low_kernels_of(const char* set, WeightStorage kind);
const LowKernels& low_kernels(int number);

// The names of the kernels that could serve a set, slowest first; null behind the last. choose: the one of this name
// from now on, or, with null, the fastest; whether there is one. "none" is there for bfloat16.
const char* usable_low_kernels(const char* set, WeightStorage kind, int number);
bool choose_low_kernels(const char* set, WeightStorage kind, const char* name);

}  // namespace rnnkernels::cpu
