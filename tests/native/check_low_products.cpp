// The kernels of csrc/cpu/low/ that this machine has, bit for bit: int8 against what kernels.h says, so that they agree
// with each other; bfloat16 against what the file of each says of its instruction. Odd sizes, and rows with a NaN, of
// zeros, of tiny numbers, and of the largest weights and numbers, where narrower sums would overflow.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "check.h"
#include "cpu/low/kernels.h"
#include "problem.h"

namespace native {
namespace {

using rnnkernels::Index;
using rnnkernels::WeightStorage;
using namespace rnnkernels::cpu;

struct Size {
    Index rows, k;
    int planes;
    Index vectors;
    int width;
    unsigned fine = 0;  // a bit for each vector of a panel that has a second plane; kMixed: some lanes of the last one

    std::string text() const {
        return std::to_string(rows) + " rows, k " + std::to_string(k) + ", " + std::to_string(planes) + " planes (" +
               std::to_string(fine) + "), " + std::to_string(vectors) + " vectors in panels of " +
               std::to_string(width);
    }
    bool has_second(Index column, int lanes) const {
        const Index vector = column / lanes;
        return (fine >> (vector % width) & 1U) != 0 ||
               ((fine & kMixed) != 0 && vector + 1 == vectors && column % lanes % 3 == 1 % lanes);
    }

    static constexpr unsigned kMixed = 16;
};

// A product in plain numbers. Weights are integers for int8, else bfloat16.
struct Numbers {
    Size size;
    Index columns;
    std::vector<float> a;       // (rows, k)
    std::vector<float> w;       // (columns, k)
    std::vector<float> scales;  // (columns)
    std::vector<float> init;    // (rows, columns)

    int lanes;

    const float* row(Index r) const { return a.data() + r * size.k; }
    const float* column(Index c) const { return w.data() + c * size.k; }
};

class Draw {
public:
    int between(int low, int high) {
        state_ = state_ * 1664525U + 1013904223U;
        return low + static_cast<int>((state_ >> 8) % static_cast<unsigned>(high - low + 1));
    }
    float number() { return static_cast<float>(between(-1000000, 1000000)) * 1e-6F; }

private:
    std::uint32_t state_ = 1;
};

float to_bfloat16(float x) {
    const auto bits = __builtin_bit_cast(std::uint32_t, x);
    return __builtin_bit_cast(float, x == x ? (bits + 0x7fffU + (bits >> 16 & 1U)) & 0xffff0000U : bits);
}

Numbers draw(const Size& size, int lanes, WeightStorage kind) {
    Draw from;
    const bool int8 = kind == WeightStorage::int8;
    Numbers p{size, size.vectors * lanes, {}, {}, {}, {}, lanes};
    const float factors[] = {3, 0, int8 ? 0x1p-101F : 0x1p-80F, 1e30F, 1};
    for (Index row = 0; row < size.rows; ++row) {
        for (Index i = 0; i < size.k; ++i) p.a.push_back(row % 5 == 4 ? -1.5F : factors[row % 5] * from.number());
        if (row == 6) p.a.back() = std::nanf("");
        if (row == 7) p.a.back() = -HUGE_VALF;
    }
    for (Index column = 0; column < p.columns; ++column) {
        for (Index i = 0; i < size.k; ++i)
            p.w.push_back(int8 ? static_cast<float>(column % 3 == 0 ? -127 : from.between(-127, 127))
                               : to_bfloat16(from.number()));
        p.scales.push_back(column == 1 ? 0 : 0.01F + 0.001F * from.number());
    }
    for (Index i = 0; i < size.rows * p.columns; ++i) p.init.push_back(from.number());
    return p;
}

// A block of a row: q of both planes, and their scale.
float quantised(const float* a, Index count, int* q, int* rest) {
    float most = 0;
    bool finite = true;
    for (Index i = 0; i < count; ++i) {
        finite = finite && std::isfinite(a[i]);
        most = std::max(most, std::fabs(a[i]));
    }
    const bool scaled = finite && most >= kLeastScaled;
    for (Index i = 0; i < count; ++i) {
        const float exact = scaled ? a[i] * (127.0F / most) : 0, whole = std::nearbyint(exact);
        q[i] = static_cast<int>(whole), rest[i] = static_cast<int>(std::nearbyint((exact - whole) * 128));
    }
    return scaled ? most / 127.0F : finite ? 0.0F : std::nanf("");
}

float int8_product(const Numbers& p, Index row, Index column) {
    const Size& s = p.size;
    std::vector<int> q[2] = {std::vector<int>(static_cast<std::size_t>(s.k)),
                             std::vector<int>(static_cast<std::size_t>(s.k))};
    float total = 0;
    for (Index first = 0; first < s.k; first += kScaleBlock) {
        const Index count = std::min(kScaleBlock, s.k - first);
        const float scale = quantised(p.row(row) + first, count, q[0].data(), q[1].data());
        for (int plane = 0; plane < (s.planes == 2 && s.has_second(column, p.lanes) ? 2 : 1); ++plane) {
            std::int64_t sum = 0;
            for (Index i = 0; i < count; ++i)
                sum += q[plane][static_cast<std::size_t>(i)] * static_cast<std::int64_t>(p.column(column)[first + i]);
            total = std::fma(static_cast<float>(sum), plane == 0 ? scale : scale / 128, total);
        }
    }
    return std::fma(total, p.scales[static_cast<std::size_t>(column)],
                    p.init[static_cast<std::size_t>(row * p.columns + column)]);
}

// a + b as a float rounded to odd.
float odd_sum(double a, double b) {
    const double sum = a + b, high = sum - a, rest = (a - (sum - high)) + (b - high);  // rest: what sum lacks
    if (!std::isfinite(sum)) return static_cast<float>(sum);
    float near = static_cast<float>(sum);
    if (static_cast<double>(near) == sum && rest == 0) return near;
    const double beyond = static_cast<double>(near) == sum ? -rest : static_cast<double>(near) - sum;
    if (beyond * sum > 0) near = std::nextafter(near, 0.0F);
    return __builtin_bit_cast(float, __builtin_bit_cast(std::uint32_t, near) | 1U);
}

// A pair of k as the kernels of this name add it to a sum.
float add_pair(const char* name, float sum, const float* a, const float* w) {
    if (std::strcmp(name, "neon_bf16") == 0) {
        const double first = static_cast<double>(a[0]) * w[0], second = static_cast<double>(a[1]) * w[1];
        return odd_sum(sum, odd_sum(first, second));
    }
    return std::fma(a[0], w[0], std::fma(a[1], w[1], sum));
}

float bfloat16_product(const char* name, const Numbers& p, Index row, Index column) {
    const float init = p.init[static_cast<std::size_t>(row * p.columns + column)];
    const bool tiles = std::strcmp(name, "amx_bf16") == 0;
    float sum = tiles ? 0 : init, even = 0, odd = 0;  // of a tile's 32 k
    for (Index i = 0; i < p.size.k; i += 2) {
        const bool two = i + 1 < p.size.k;
        const float a[2] = {to_bfloat16(p.row(row)[i]), two ? to_bfloat16(p.row(row)[i + 1]) : 0};
        const float w[2] = {p.column(column)[i], two ? p.column(column)[i + 1] : 0};
        if (!tiles) {
            sum = add_pair(name, sum, a, w);
            continue;
        }
        even = std::fma(a[0], w[0], even), odd = std::fma(a[1], w[1], odd);
        if (i % 32 == 30 || i + 2 >= p.size.k) sum = (even + odd) + sum, even = odd = 0;
    }
    return tiles ? sum + init : sum;
}

// Panels as kernels.h has them.
std::vector<float> packed(const Numbers& p, const LowKernels& kernels, Index& panel_size) {
    const Size& s = p.size;
    const bool int8 = kernels.kind == WeightStorage::int8;
    const Index groups = groups_of(s.k, kernels.kind), each = group_of(kernels.kind), row = s.width * kernels.lanes;
    const int head = panel_head(kernels.kind, s.planes);
    panel_size = (groups + head) * row;
    std::vector<float> panels(static_cast<std::size_t>((s.vectors + s.width - 1) / s.width * panel_size));
    for (Index column = 0; column < p.columns; ++column) {
        const Index vector = column / kernels.lanes, first = vector / s.width * s.width;
        const Index step = std::min<Index>(s.width, s.vectors - first) * kernels.lanes;
        float* const to =
            panels.data() + first / s.width * panel_size + (vector - first) * kernels.lanes + column % kernels.lanes;
        if (int8) to[0] = p.scales[static_cast<std::size_t>(column)];
        if (head == 2) to[step] = s.has_second(column, kernels.lanes) ? 1.0F / 128 : 0;
        for (Index group = 0; group < groups; ++group) {
            std::uint32_t lane = 0;
            for (Index i = group * each; i < (group + 1) * each; ++i) {
                const float w = i < s.k ? p.column(column)[i] : 0;
                const std::uint32_t part =
                    int8 ? static_cast<std::uint32_t>(static_cast<int>(w) + kernels.offset) & 0xffU
                         : __builtin_bit_cast(std::uint32_t, w) >> 16;
                lane |= part << ((i - group * each) * (32 / each));
            }
            to[(group + head) * step] = __builtin_bit_cast(float, lane);
        }
    }
    return panels;
}

void check_product(const LowKernels& kernels, const Size& size) {
    const Numbers p = draw(size, kernels.lanes, kernels.kind);
    const bool int8 = kernels.kind == WeightStorage::int8;
    Index panel_size = 0;
    const std::vector<float> panels = packed(p, kernels, panel_size);
    const Index row_stride = row_lanes(size.k, kernels.kind, size.planes) + 3, out_stride = p.columns + 5;
    Array<float> rows(size.rows * row_stride), out(size.rows * out_stride);
    kernels.convert(p.a.data(), size.k, size.rows, size.k, size.planes, rows.data(), row_stride);
    for (Index row = 0; row < size.rows; ++row)
        for (Index i = 0; i < 3; ++i)
            if (!std::isnan(rows[static_cast<std::size_t>((row + 1) * row_stride - 1 - i)]))
                fail("%s: convert wrote behind a row: %s", kernels.name, size.text().c_str());
    for (Index first = 0; first < size.rows; first += kernels.rows) {
        const Index count = std::min<Index>(kernels.rows, size.rows - first);
        kernels.product({rows.data() + first * row_stride, row_stride, static_cast<int>(count), size.width,
                         panels.data(), panel_size, size.k, size.planes, size.vectors,
                         p.init.data() + first * p.columns, p.columns, out.data() + first * out_stride, out_stride});
    }
    if (!rows.fences_stand() || !out.fences_stand())
        fail("%s wrote outside its output: %s", kernels.name, size.text().c_str());
    for (Index row = 0; row < size.rows; ++row)
        for (Index column = 0; column < p.columns; ++column) {
            const float found = out[static_cast<std::size_t>(row * out_stride + column)];
            const float wanted = int8 ? int8_product(p, row, column) : bfloat16_product(kernels.name, p, row, column);
            const bool same = std::isnan(wanted) ? std::isnan(found) : std::memcmp(&found, &wanted, 4) == 0;
            if (!same)
                fail("%s: row %d, column %d is %.9g, not %.9g: %s", kernels.name, static_cast<int>(row),
                     static_cast<int>(column), static_cast<double>(found), static_cast<double>(wanted),
                     size.text().c_str());
        }
}

void check_kernels(const LowKernels& kernels) {
    const bool int8 = kernels.kind == WeightStorage::int8;
    const int widest = kernels.lanes == 8 ? 3 : 4;
    constexpr unsigned fine[] = {0, 1, 2, 5, 8, 15, Size::kMixed};
    int number = 0;
    for (const int planes : {1, 2}) {
        for (const Index k : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 40, 67, 130, 259})
            for (const Index rows : {1, 2, 3, 5, 8, 12, 13, 17, 32, 37})
                for (int width = 1; width <= widest; ++width)
                    for (const Index vectors : {Index{1}, Index{width}, Index{2 * width + 1}})
                        check_product(kernels, {rows, k, planes, vectors, width, fine[number++ % 7]});
        if (!int8) break;
    }
    for (const int planes : {1, 2})
        if (int8) check_product(kernels, {5, kScaleBlock + 6, planes, 1, 1, 1});
}

}  // namespace

void check_low_products(int set) {
    const char* const name = backend().set_name(set);
    for (const WeightStorage kind : {WeightStorage::int8, WeightStorage::bfloat16}) {
        for (int number = 0; const char* const kernels = usable_low_kernels(name, kind, number); ++number) {
            if (!choose_low_kernels(name, kind, kernels)) fail("%s has no kernels %s", name, kernels);
            const LowKernels& chosen = low_kernels(low_kernels_of(name, kind));
            if (std::strcmp(chosen.name, kernels) != 0) fail("%s has %s, not %s", name, chosen.name, kernels);
            check_kernels(chosen);
            std::printf("%s, ", kernels);
        }
        choose_low_kernels(name, kind, nullptr);
    }
}

}  // namespace native
