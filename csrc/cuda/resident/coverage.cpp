// The rules behind coverage.h.
#include "coverage.h"

namespace rnnkernels::cuda {

std::string not_in_one_kernel(const Inputs& in) {
    if (in.attention) return "expected a recurrence that does not attend, got one that does";
    if (in.noise.zones) return "expected no zoneout, got a rate of it";
    if (in.noise.recurrent > 0 && !in.noise.expected) return "expected no recurrent dropout, got a rate of it";
    return {};
}

std::string not_resident(const CellTable& table, const ForwardCall& call, Dtype dtype, const Card& card) {
    const Inputs& in = call.in;
    const auto wanted = [](const std::string& expected, const std::string& got) {
        return "expected " + expected + ", got " + got;
    };
    if (card.capability < 90)
        return wanted("a GPU of capability 9.0 or more",
                      std::to_string(card.capability / 10) + "." + std::to_string(card.capability % 10));
    if (dtype == Dtype::float64) return wanted("bfloat16, float16 or float32", "float64");
    const bool two = table.form == Form::two_products;
    if ((!two && table.form != Form::one_product) || table.heads > 1 || table.hidden.count == 0)
        return wanted("a cell whose products are of all of h and, it may be, of a gated h", table.info.name);
    if (in.attention) return not_in_one_kernel(in);
    if (in.shape.hidden == 0) return {};  // nothing to do
    const Operands operands = operands_of(dtype, in.where.tf32);
    const TileGates gates = tile_gates(table);
    const int shared = most_shared(card.capability);
    const Resident shape = divide(table, in, operands, card.room, shared);
    if (shape.blocks > 0) return {};
    const std::string sizes = std::to_string(gates.all) + " gates of H = " + std::to_string(in.shape.hidden);
    // A row on a card with room for any cluster.
    if (const int blocks = divide(gates, in.shape.hidden, 1, ClusterRoom(kMostCluster), operands, shared).blocks;
        blocks > 0 && card.room.at_once(blocks) == 0)
        return wanted("a GPU with clusters of " + std::to_string(blocks) + " blocks, for " + sizes,
                      "one without (its largest has " + std::to_string(card.room.largest()) + ")");
    const Index rows = operands == Operands::full ? most_rows(gates, in.shape.hidden, card.room, shared) : 0;
    if (rows > 0)
        return wanted("at most " + std::to_string(rows) + " rows of float32 (more with allow_tf32)",
                      std::to_string(in.shape.batch));
    return wanted("sizes whose weights stay in registers (docs/cuda.md)", sizes);
}

std::string not_resident(const CellTable& table, const BackwardCall& call, Dtype dtype, const Card& card) {
    if (table.vectors > 0 && masks_of(call.in.noise))
        return "expected no masks of a cell with vectors that are fed back, got some";
    ForwardCall forward{};
    forward.in = call.in;
    if (const std::string why = not_resident(table, forward, dtype, card); !why.empty()) return why;
    for (int k = 0; k < table.states; ++k)
        if ((k > 0 && call.d_sequence[k]) || call.norms[k])
            return "expected no gradients of states after h and no readings, got some";
    if (call.in.shape.hidden == 0) return {};
    const ResidentBackward divided = divide_backward(table, call.in, operands_of(dtype, call.in.where.tf32), card.room,
                                                     most_shared(card.capability));
    return divided.of.blocks > 0 ? std::string()
                                 : "expected sizes that fit a block's registers and shared memory, got others";
}

}  // namespace rnnkernels::cuda
