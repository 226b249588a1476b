// The text behind source.h.
#include "source.h"

#include "../program_source.h"

namespace rnnkernels::cuda {
namespace {

std::string maths_of(const OwnProgram& program) {
    const auto most = [](const char* name, int value) {
        return std::string("    static constexpr int ") + name + " = " + std::to_string(value) + ";\n";
    };
    const auto count = [](const char* name, int value) {
        return std::string("    RNNKERNELS_INLINE static constexpr int ") + name +
               "_count(const ResidentCall&) { return " + std::to_string(value) + "; }\n";
    };
    const auto phase = [](const char* name, const char* at, ProgramPhase runs) {
        return std::string("    RNNKERNELS_INLINE static void ") + name + "(const ResidentCall&, const " + at +
               "& at) { do_" + name_of(runs) + "(at); }\n";
    };
    using enum ProgramPhase;
    const CellTable& table = program.table();
    std::string text = program_source(program, Dtype::float32, "", Phases::forward_maths) +
                       "namespace rnnkernels::cuda {\nnamespace {\nstruct OneProgram {\n" +
                       most("inputs", table.input.count) + count("input", table.input.count) +
                       most("hiddens", tile_gates(table)) + count("hidden", table.hidden.count) +
                       most("states", table.states) + count("state", table.states);
    if (table.form == Form::two_products)
        text += most("saved", table.saved) + count("gated", table.gated.count) +
                phase("gates", "ResidentProgramGatesAt", forward) +
                phase("state", "ResidentProgramStateAt", forward_state) +
                "};\nusing Maths = TwoProductsProgramMaths<OneProgram>;\n";
    else
        text += phase("run", "ResidentProgramAt", forward) + "};\nusing Maths = ResidentProgramMaths<OneProgram>;\n";
    return text;
}

const char* stored_name(Operands operands, Dtype storage) {
    switch (operands) {
        case Operands::tf32: return "Tf32";
        case Operands::full: return "Full";
        default: return storage == Dtype::bfloat16 ? "Bfloat16" : "Float16";
    }
}

}  // namespace

std::string resident_maths(int number, const OwnProgram* program) {
    if (program) return maths_of(*program);
    return "namespace rnnkernels::cuda {\nnamespace {\nusing Maths = ResidentMathsOf<typename NumberedCell<" +
           std::to_string(number) + ", AllCells>::type>;\n";
}

std::string resident_source(int number, const OwnProgram* program, const Resident& shape, Dtype storage, bool pair) {
    std::string text = resident_maths(number, program);
    text += "constexpr Resident kShape{" + std::to_string(shape.gates);
    for (const int part : {shape.hidden, shape.warps, shape.blocks, shape.groups}) text += ", " + std::to_string(part);
    text += ", Operands{" + std::to_string(static_cast<int>(shape.operands)) + "}, " + std::to_string(shape.rows);
    text += "};\n}  // namespace\n}  // namespace rnnkernels::cuda\n\n";
    text += "extern \"C\" __global__ void __launch_bounds__(" + std::to_string(shape.warps * 32) + ", 1) " +
            kResidentKernel + "(const __grid_constant__ rnnkernels::cuda::" + (pair ? "ResidentPair" : "ResidentCall") +
            " call) {\n"
            "    using namespace rnnkernels::cuda;\n    run_resident<kShape, Maths, " +
            stored_name(shape.operands, storage) + ">(call);\n}\n";
    return text;
}

}  // namespace rnnkernels::cuda
