// The text behind source.h.
#include "source.h"

#include "../resident/source.h"

namespace rnnkernels::cuda {

namespace {

// All behind the cell's maths.
std::string kernel_of(const Grid& shape, const char* name, const char* call, const char* runs, Dtype storage) {
    std::string text = "constexpr Grid kShape{" + std::to_string(shape.gates);
    for (const int part :
         {shape.hidden, shape.row_tiles, shape.blocks, shape.teams, shape.groups, shape.numbers, shape.warp_tiles,
          shape.units, shape.most_held, shape.gated, shape.gated_row_tiles, shape.other_numbers})
        text += ", " + std::to_string(part);
    return text + "};\n}  // namespace\n}  // namespace rnnkernels::cuda\n\n" +
           "extern \"C\" __global__ void __launch_bounds__(" + std::to_string(kGridThreads) + ", 1) " + name +
           "(const __grid_constant__ rnnkernels::cuda::" + call +
           " call) {\n    using namespace rnnkernels::cuda;\n    " + runs + "<kShape, Maths, " +
           (storage == Dtype::bfloat16 ? "Bfloat16" : "Float16") + ">(call);\n}\n";
}

}  // namespace

std::string grid_source(int number, const OwnProgram* program, const Grid& shape, Dtype storage) {
    return resident_maths(number, program) + kernel_of(shape, kGridKernel, "GridCall", "run_grid", storage);
}

std::string grid_backward_source(int number, const OwnProgram* program, const Grid& shape, Dtype storage) {
    return resident_backward_maths(number, program) +
           kernel_of(shape, kGridBackwardKernel, "GridBackwardCall", "run_grid_backward", storage);
}

}  // namespace rnnkernels::cuda
