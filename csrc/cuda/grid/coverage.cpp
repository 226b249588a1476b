// The rules behind coverage.h.
#include "coverage.h"

#include "../resident/coverage.h"

namespace rnnkernels::cuda {

std::string not_grid(const CellTable& table, const ForwardCall& call, Dtype dtype, const Card& card) {
    const Inputs& in = call.in;
    const auto wanted = [](const std::string& expected, const std::string& got) {
        return "expected " + expected + ", got " + got;
    };
    const std::string capability = std::to_string(card.capability / 10) + "." + std::to_string(card.capability % 10);
    if (card.capability < 75) return wanted("a GPU of capability 7.5 or more", capability);
    if (dtype != Dtype::bfloat16 && dtype != Dtype::float16)
        return wanted("bfloat16 or float16", dtype == Dtype::float32 ? "float32" : "float64");
    if (dtype == Dtype::bfloat16 && card.capability < 80)
        return wanted("float16 on a GPU of capability " + capability, "bfloat16");
    const bool has_form = table.form == Form::one_product || table.form == Form::two_products;
    if (!has_form || table.vectors > 0 || table.heads > 1 || table.hidden.count == 0)
        return wanted("a cell whose products are of all of h and, it may be, of a gated h", table.info.name);
    if (const std::string why = not_in_one_kernel(in); !why.empty()) return why;
    if (in.shape.hidden == 0) return {};  // nothing to do
    if (divide_grid(table, in.shape, card).blocks == 0)
        return wanted("sizes whose weights stay on the card (docs/cuda.md)",
                      std::to_string(tile_gates(table)) + " gates of H = " + std::to_string(in.shape.hidden) + " on " +
                          std::to_string(card.processors) + " processors of capability " + capability);
    return {};
}

}  // namespace rnnkernels::cuda
