// The rules behind plan.h.
#include "plan.h"

#include "../device_table.h"
#include "measured.h"

namespace rnnkernels::cuda {
namespace {

// A product over so many bytes of rows is large enough to fill any card, and small beside its memory. Tests set another
// bound, so that small problems have several chunks.
#if defined(RNNKERNELS_CHUNK_BYTES)
constexpr Index kChunkBytes = RNNKERNELS_CHUNK_BYTES;
#else
constexpr Index kChunkBytes = 128 * 1024 * 1024;
#endif

}  // namespace

const char* name_of(Kernel kernel) {
    switch (kernel) {
        case Kernel::reference: return "reference";
        case Kernel::products: return "products";
        case Kernel::resident: return "resident";
        default: return "grid";
    }
}

Kernel nearest_measured(const Shape& shape, Dtype dtype, const Card& card, const MeasuredKernel* rows, Index count) {
    const auto factor = [](Index a, Index b) {
        return static_cast<double>(a > b ? a : b) / static_cast<double>(a > b ? b : a);
    };
    Kernel best = Kernel::products;
    double least = 0;  // none yet
    for (const MeasuredKernel* row = rows; row != rows + count; ++row) {
        if (row->capability != card.capability || row->dtype != dtype || shape.batch < 1 || shape.hidden < 1) continue;
        const double b = factor(row->batch, shape.batch), h = factor(row->hidden, shape.hidden);
        if (b > 2 || h > 2 || (least > 0 && b * h >= least)) continue;
        best = static_cast<Kernel>(row->set);
        least = b * h;
    }
    return best;
}

Kernel choose_kernel(const Shape& shape, Dtype dtype, const Card& card) {
    return nearest_measured(shape, dtype, card, kMeasured, kMeasuredCount);
}

const char* kernel_for(const Shape& shape, Dtype dtype, int capability, int processors, const MeasuredKernel* rows,
                       Index count) {
    const Card card{capability, processors};
    return name_of(rows ? nearest_measured(shape, dtype, card, rows, count) : choose_kernel(shape, dtype, card));
}

Index chunk_rows(const Chunk& chunk) {
    Index rows = chunk.row_bytes > 0 ? kChunkBytes / chunk.row_bytes : chunk.rows;
    if (rows > chunk.rows) rows = chunk.rows;
    return rows > chunk.batch ? rows : chunk.batch;
}

}  // namespace rnnkernels::cuda
