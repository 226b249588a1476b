// The text behind source.h.
#include "source.h"

#include "../resident/source.h"

namespace rnnkernels::cuda {

std::string grid_source(int number, const OwnProgram* program, const Grid& shape, Dtype storage) {
    std::string text = resident_maths(number, program);
    text += "constexpr Grid kShape{" + std::to_string(shape.gates);
    for (const int part : {shape.hidden, shape.row_tiles, shape.blocks, shape.teams, shape.groups, shape.units,
                           shape.most_held, shape.gated, shape.gated_row_tiles})
        text += ", " + std::to_string(part);
    text += "};\n}  // namespace\n}  // namespace rnnkernels::cuda\n\n";
    text += "extern \"C\" __global__ void __launch_bounds__(" + std::to_string(kGridThreads) + ", 1) " + kGridKernel +
            "(const __grid_constant__ rnnkernels::cuda::GridCall call) {\n"
            "    using namespace rnnkernels::cuda;\n    run_grid<kShape, Maths, " +
            (storage == Dtype::bfloat16 ? "Bfloat16" : "Float16") + ">(call);\n}\n";
    return text;
}

}  // namespace rnnkernels::cuda
