// What is compiled at run time, as text and as machine code, without a GPU (device_table.h). Not here: kernels that run
// (program_launches.h, resident/launch.h, grid/launch.h).
#include <stdexcept>
#include <string>

#include "../device_table.h"
#include "all_cells.h"
#include "grid/coverage.h"
#include "grid/source.h"
#include "nvrtc.h"
#include "program_cells.h"
#include "program_source.h"
#include "resident/coverage.h"
#include "resident/occupancy.h"
#include "resident/pair.h"
#include "resident/source.h"

namespace rnnkernels::cuda {

ProgramSource program_source(int cell, Dtype dtype, const std::string& prefix) {
    if (cell < kBuiltIn)
        throw std::invalid_argument(std::string("cell: expected one that is a program, got ") +
                                    at(cell).table->info.name + ", which is built in");
    return {kProgramPrelude, program_source(program_of(cell - kBuiltIn), dtype, prefix, Phases::both)};
}

std::string compile_program(int cell, Dtype dtype, bool backward, int capability) {
    if (cell < kBuiltIn) return {};
    const Phases phases = backward ? Phases::backward : Phases::forward;
    return compile_source(kProgramPrelude + program_source(program_of(cell - kBuiltIn), dtype, "", phases), capability);
}

ProgramSource resident_source(const ResidentLayer& layer) {
    const CellTable& table = *at(layer.cell).table;
    ForwardCall call{};
    call.in.shape = {1, layer.batch, layer.hidden, layer.hidden, layer.hidden};
    call.in.where.tf32 = layer.tf32;
    call.in.noise.zones = layer.masks & kZones;
    call.in.noise.recurrent = layer.masks & kDrops ? 0.5 : 0;
    BackwardCall backward{};
    backward.in = call.in;
    const Card card{90, layer.processors, modelled_room(90, layer.processors)};
    const std::string why = layer.backward ? not_resident(table, backward, layer.dtype, card)
                                           : not_resident(table, call, layer.dtype, card);
    if (!why.empty()) throw std::invalid_argument("kernel: resident: " + why);
    const ClusterRoom room = layer.pair ? half_of(card.room) : card.room;
    const OwnProgram* program = layer.cell < kBuiltIn ? nullptr : &program_of(layer.cell - kBuiltIn);
    const Operands operands = operands_of(layer.dtype, layer.tf32);
    const char* const too_many =
        "kernel: resident: expected a layer that half of the card has room for, got a larger one or more rows";
    if (layer.backward) {
        const ResidentBackward shape = divide_backward(table, call.in, operands, room, most_shared(90));
        if (shape.of.blocks == 0) throw std::invalid_argument(too_many);
        return {kResidentBackwardPrelude,
                resident_backward_source(layer.cell, program, shape, layer.dtype, layer.pair)};
    }
    const Resident shape = divide(table, call.in, operands, room, most_shared(90));
    if (shape.blocks == 0) throw std::invalid_argument(too_many);
    return {kResidentPrelude, resident_source(layer.cell, program, shape, layer.dtype, layer.pair)};
}

std::string compile_resident(const ResidentLayer& layer, int capability) {
    const ProgramSource source = resident_source(layer);
    return compile_source(source.prelude + source.text, capability);
}

ProgramSource grid_source(const ResidentLayer& layer, int capability) {
    const CellTable& table = *at(layer.cell).table;
    ForwardCall call{};
    call.in.shape = {1, layer.batch, layer.hidden, layer.hidden, layer.hidden};
    BackwardCall backward{};
    backward.in = call.in;
    const Card card{capability, layer.processors};
    const std::string why =
        layer.backward ? not_grid(table, backward, layer.dtype, card) : not_grid(table, call, layer.dtype, card);
    if (!why.empty()) throw std::invalid_argument("kernel: grid: " + why);
    const OwnProgram* program = layer.cell < kBuiltIn ? nullptr : &program_of(layer.cell - kBuiltIn);
    if (layer.backward)
        return {
            kGridBackwardPrelude,
            grid_backward_source(layer.cell, program, divide_grid_backward(table, call.in.shape, card), layer.dtype)};
    return {kGridPrelude, grid_source(layer.cell, program, divide_grid(table, call.in.shape, card), layer.dtype)};
}

}  // namespace rnnkernels::cuda
