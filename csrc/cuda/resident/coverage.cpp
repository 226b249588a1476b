// The rules behind coverage.h.
#include "coverage.h"

namespace rnnkernels::cuda {

std::string not_resident(const CellTable& table, const ForwardCall& call, Dtype dtype, const Card& card) {
    const Inputs& in = call.in;
    const auto wanted = [](const std::string& expected, const std::string& got) {
        return "expected " + expected + ", got " + got;
    };
    if (card.capability < 90)
        return wanted("a GPU of capability 9.0 or more",
                      std::to_string(card.capability / 10) + "." + std::to_string(card.capability % 10));
    if (dtype != Dtype::bfloat16 && dtype != Dtype::float16)
        return wanted("bfloat16 or float16", dtype == Dtype::float32 ? "float32" : "float64");
    const bool has_form = table.form == Form::one_product || table.form == Form::two_products;
    if (!has_form || table.vectors > 0 || table.heads > 1 || table.hidden.count == 0)
        return wanted("a cell whose products are of all of h and, it may be, of a gated h", table.info.name);
    if (in.attention) return wanted("a recurrence that does not attend", "one that does");
    if (in.noise.zones) return wanted("no zoneout", "a rate of it");
    if (in.noise.recurrent > 0 && !in.noise.expected) return wanted("no recurrent dropout", "a rate of it");
    if (in.shape.hidden == 0) return {};  // nothing to do
    const Resident shape = divide(tile_gates(table), in.shape.hidden, in.shape.batch, card.processors);
    if (shape.blocks == 0)
        return wanted("sizes whose weights stay in registers (docs/cuda.md)",
                      std::to_string(tile_gates(table)) + " gates of H = " + std::to_string(in.shape.hidden));
    return {};
}

}  // namespace rnnkernels::cuda
