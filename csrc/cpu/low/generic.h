// int8 products without any instruction of their own: what kernels.h says, lane by lane, for engines of any vector.
// Included by one file of kernels, which is compiled with its flags. Nobody's fast path.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels.h"

namespace rnnkernels::cpu {
namespace {

template <int offset>
void convert_generic(const float* a, Index a_stride, Index rows, Index k, Index block, float* to, Index to_stride) {
    for (Index row = 0; row < rows; ++row, a += a_stride, to += to_stride) {
        float* const four = to + 2 * scale_blocks(k, block);  // of k
        for (Index first = 0; first < k; first += block) {
            const Index count = k - first < block ? k - first : block;
            float most = 0;
            bool finite = true;
            for (Index i = 0; i < count; ++i) {
                const float size = std::fabs(a[first + i]);
                finite = finite && size <= std::numeric_limits<float>::max();
                if (size > most) most = size;
            }
            const bool scaled = finite && most >= kLeastScaled;
            const float inverse = scaled ? 127.0F / most : 0.0F;
            const float scale = scaled ? most / 127.0F : finite ? 0.0F : std::numeric_limits<float>::quiet_NaN();
            std::int32_t sum = 0;
            for (Index i = 0; i < count; i += 4) {
                std::int8_t q[4] = {};
                for (Index j = 0; scaled && j < 4 && i + j < count; ++j) {
                    q[j] = static_cast<std::int8_t>(std::nearbyint(a[first + i + j] * inverse));
                    sum += q[j];
                }
                std::memcpy(four + (first + i) / 4, q, 4);
            }
            const std::int32_t correction = -offset * sum;
            float* const of_block = to + first / block * 2;
            of_block[0] = scale;
            std::memcpy(of_block + 1, &correction, 4);
        }
    }
}

template <int lanes, int offset>
void product_generic(const LowProduct& of) {
    const Index blocks = scale_blocks(of.k, of.block), groups = groups_of(of.k, WeightStorage::int8);
    for (int row = 0; row < of.count; ++row) {
        const float* const scales = of.rows + row * of.row_stride;
        for (Index column = 0; column < of.vectors * lanes; ++column) {
            const Index vector = column / lanes, panel = vector / of.width, first = panel * of.width;
            const Index width = of.vectors - first < of.width ? of.vectors - first : of.width;
            const float* const weights = of.panels + panel * of.panel_size + (vector - first) * lanes + column % lanes;
            float t = 0;
            for (Index block = 0; block < blocks; ++block) {
                std::int32_t sum = 0;
                std::memcpy(&sum, scales + 2 * block + 1, 4);
                for (Index group = block * of.block / 4; group < groups && group < (block + 1) * of.block / 4;
                     ++group) {
                    std::int8_t a[4];
                    unsigned char w[4];
                    std::memcpy(a, scales + 2 * blocks + group, 4);
                    std::memcpy(w, weights + (group + 1) * width * lanes, 4);
                    for (int i = 0; i < 4; ++i)
                        sum += a[i] * (offset ? int{w[i]} : int{static_cast<std::int8_t>(w[i])});
                }
                t = std::fma(static_cast<float>(sum), scales[2 * block], t);
            }
            of.out[row * of.out_stride + column] = std::fma(t, weights[0], of.init[row * of.init_stride + column]);
        }
    }
}

}  // namespace
}  // namespace rnnkernels::cpu
