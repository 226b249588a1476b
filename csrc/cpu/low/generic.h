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
void convert_generic(const float* a, Index a_stride, Index rows, Index k, int planes, float* to, Index to_stride) {
    const Index groups = groups_of(k, WeightStorage::int8);
    for (Index row = 0; row < rows; ++row, a += a_stride, to += to_stride) {
        float* const four = to;  // of k
        for (Index first = 0; first < k; first += kScaleBlock) {
            const Index count = k - first < kScaleBlock ? k - first : kScaleBlock;
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
            std::int32_t sum[2] = {};
            for (Index i = 0; i < count; i += 4) {
                std::int8_t q[2][4] = {};
                for (Index j = 0; scaled && j < 4 && i + j < count; ++j) {
                    const float exact = a[first + i + j] * inverse, whole = std::nearbyint(exact);
                    q[0][j] = static_cast<std::int8_t>(whole);
                    q[1][j] = static_cast<std::int8_t>(std::nearbyint((exact - whole) * kSecondPlane));
                    for (int plane = 0; plane < 2; ++plane) sum[plane] += q[plane][j];
                }
                for (int plane = 0; plane < planes; ++plane)
                    std::memcpy(four + plane * groups + (first + i) / 4, q[plane], 4);
            }
            float* const of_block = to + planes * groups + first / kScaleBlock * (1 + planes);
            of_block[0] = scale;
            for (int plane = 0; plane < planes; ++plane) {
                const std::int32_t correction = -offset * sum[plane];
                std::memcpy(of_block + 1 + plane, &correction, 4);
            }
        }
    }
}

template <int lanes, int offset>
void product_generic(const LowProduct& of) {
    const Index blocks = scale_blocks(of.k), groups = groups_of(of.k, WeightStorage::int8);
    for (int row = 0; row < of.count; ++row) {
        const float* const numbers = of.rows + row * of.row_stride;
        const float* const scales = numbers + of.planes * groups;
        for (Index column = 0; column < of.vectors * lanes; ++column) {
            const Index vector = column / lanes, panel = vector / of.width, first = panel * of.width;
            const Index width = of.vectors - first < of.width ? of.vectors - first : of.width;
            const float* const weights = of.panels + panel * of.panel_size + (vector - first) * lanes + column % lanes;
            float t = 0;
            for (Index block = 0; block < blocks; ++block)
                for (int plane = 0; plane < of.planes; ++plane) {
                    const float* const of_block = scales + (1 + of.planes) * block;
                    std::int32_t sum = 0;
                    std::memcpy(&sum, of_block + 1 + plane, 4);
                    for (Index group = block * kScaleBlock / 4; group < groups && group < (block + 1) * kScaleBlock / 4;
                         ++group) {
                        std::int8_t a[4];
                        unsigned char w[4];
                        std::memcpy(a, numbers + plane * groups + group, 4);
                        std::memcpy(w, weights + (group + of.planes) * width * lanes, 4);
                        for (int i = 0; i < 4; ++i)
                            sum += a[i] * (offset ? int{w[i]} : int{static_cast<std::int8_t>(w[i])});
                    }
                    const float factor = plane == 0 ? 1.0F : weights[width * lanes];
                    t = std::fma(static_cast<float>(sum), of_block[0] * factor, t);
                }
            of.out[row * of.out_stride + column] = std::fma(t, weights[0], of.init[row * of.init_stride + column]);
        }
    }
}

}  // namespace
}  // namespace rnnkernels::cpu
