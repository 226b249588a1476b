// The rules behind plan.h.
#include "plan.h"

#include "../device_table.h"

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

Kernel choose_kernel(const Shape&, Dtype, const Card&) { return Kernel::products; }

const char* kernel_for(const Shape& shape, Dtype dtype, int capability, int processors) {
    return name_of(choose_kernel(shape, dtype, {capability, processors}));
}

Index chunk_rows(const Chunk& chunk) {
    Index rows = chunk.row_bytes > 0 ? kChunkBytes / chunk.row_bytes : chunk.rows;
    if (rows > chunk.rows) rows = chunk.rows;
    return rows > chunk.batch ? rows : chunk.batch;
}

}  // namespace rnnkernels::cuda
