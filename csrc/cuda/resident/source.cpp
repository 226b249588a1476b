// The text behind source.h.
#include "source.h"

#include "../program_source.h"

namespace rnnkernels::cuda {
namespace {

std::string maths_of(const OwnProgram& program) {
    const auto constant = [](const char* name, int value) {
        const std::string text = std::to_string(value);
        return std::string("    static constexpr int ") + name + "s = " + text +
               ";\n    RNNKERNELS_INLINE static constexpr int " + name + "_count(const ResidentCall&) { return " +
               text + "; }\n";
    };
    const CellTable& table = program.table();
    return program_source(program, Dtype::float32, "", Phases::forward_maths) +
           "namespace rnnkernels::cuda {\nnamespace {\nstruct OneProgram {\n" + constant("input", table.input.count) +
           constant("hidden", table.hidden.count) + constant("state", table.states) +
           "    RNNKERNELS_INLINE static void run(const ResidentCall&, const ResidentProgramAt& at) { do_forward(at); "
           "}\n};\nusing Maths = ResidentProgramMaths<OneProgram>;\n";
}

}  // namespace

std::string resident_maths(int number, const OwnProgram* program) {
    if (program) return maths_of(*program);
    return "namespace rnnkernels::cuda {\nnamespace {\nusing Maths = ResidentCellMaths<typename NumberedCell<" +
           std::to_string(number) + ", AllCells>::type>;\n";
}

std::string resident_source(int number, const OwnProgram* program, const Resident& shape, Dtype storage) {
    std::string text = resident_maths(number, program);
    text += "constexpr Resident kShape{" + std::to_string(shape.gates);
    for (const int part : {shape.hidden, shape.warps, shape.blocks, shape.groups}) text += ", " + std::to_string(part);
    text += "};\n}  // namespace\n}  // namespace rnnkernels::cuda\n\n";
    text += "extern \"C\" __global__ void __launch_bounds__(" + std::to_string(shape.warps * 32) + ", 1) " +
            kResidentKernel +
            "(const __grid_constant__ rnnkernels::cuda::ResidentCall call) {\n"
            "    using namespace rnnkernels::cuda;\n    run_resident<kShape, Maths, " +
            (storage == Dtype::bfloat16 ? "Bfloat16" : "Float16") + ">(call);\n}\n";
    return text;
}

}  // namespace rnnkernels::cuda
