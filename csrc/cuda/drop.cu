// Dropout of elements, between layers, as device_table.h has it: the masks and the bits of the CPU's.
//
// Not here: which words decide (recurrence/masks.h), and the body that asks them, which weight dropout shares
// (convert.h).
#include "../device_table.h"
#include "convert.h"
#include "on_device.h"

namespace rnnkernels::RNNKERNELS_TARGET {

namespace {

template <class T>
void drop_as(const Queue& queue, Dtype dtype, const ElementDropout& call) {
    drop_elements<T>(queue, call.from, dtype, call.to, dtype, call.rows, call.columns, call.rate, call.seed,
                     call.layer << 8 | static_cast<std::uint32_t>(Stream::elements));
}

}  // namespace

void drop(const Where& where, Dtype dtype, const ElementDropout& call) {
    const OnDevice device(where.device);
    const Queue queue{where.stream, nullptr};  // nothing is multiplied
    dtype == Dtype::float64 ? drop_as<double>(queue, dtype, call) : drop_as<float>(queue, dtype, call);
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
