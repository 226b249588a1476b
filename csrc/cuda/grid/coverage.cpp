// The rules behind coverage.h.
#include "coverage.h"

#include "../resident/coverage.h"

namespace rnnkernels::cuda {

namespace {

std::string wanted(const std::string& expected, const std::string& got) {
    return "expected " + expected + ", got " + got;
}
std::string name_of(const Card& card) {
    return std::to_string(card.capability / 10) + "." + std::to_string(card.capability % 10);
}

// Whatever the sizes.
std::string not_grid(const CellTable& table, const Inputs& in, Dtype dtype, const Card& card) {
    if (card.capability < 75) return wanted("a GPU of capability 7.5 or more", name_of(card));
    if (dtype != Dtype::bfloat16 && dtype != Dtype::float16)
        return wanted("bfloat16 or float16", dtype == Dtype::float32 ? "float32" : "float64");
    if (dtype == Dtype::bfloat16 && card.capability < 80)
        return wanted("float16 on a GPU of capability " + name_of(card), "bfloat16");
    const bool has_form = table.form == Form::one_product || table.form == Form::two_products;
    if (!has_form || table.vectors > 0 || table.heads > 1 || table.hidden.count == 0)
        return wanted("a cell whose products are of all of h and, it may be, of a gated h", table.info.name);
    return not_in_one_kernel(in);
}
std::string too_large(const CellTable& table, const Shape& shape, const Card& card) {
    return wanted("sizes whose weights stay on the card (docs/cuda.md)",
                  std::to_string(table.hidden.count + table.gated.count) +
                      " gates of H = " + std::to_string(shape.hidden) + " on " + std::to_string(card.processors) +
                      " processors of capability " + name_of(card));
}

}  // namespace

std::string not_grid(const CellTable& table, const ForwardCall& call, Dtype dtype, const Card& card) {
    if (const std::string why = not_grid(table, call.in, dtype, card); !why.empty()) return why;
    const Shape& shape = call.in.shape;
    if (shape.hidden == 0) return {};  // nothing to do
    return divide_grid(table, shape, card).blocks > 0 ? std::string() : too_large(table, shape, card);
}

std::string not_grid(const CellTable& table, const BackwardCall& call, Dtype dtype, const Card& card) {
    if (const std::string why = not_grid(table, call.in, dtype, card); !why.empty()) return why;
    for (int k = 0; k < table.states; ++k)
        if ((k > 0 && call.d_sequence[k]) || call.norms[k])
            return "expected no gradients of states after h and no readings, got some";
    const Shape& shape = call.in.shape;
    if (shape.hidden == 0) return {};
    return divide_grid_backward(table, shape, card).blocks > 0 ? std::string() : too_large(table, shape, card);
}

}  // namespace rnnkernels::cuda
