// The text behind source.h.
#include "source.h"

#include "../program_source.h"

namespace rnnkernels::cuda {
namespace {

std::string most(const char* name, int value) {
    return std::string("    static constexpr int ") + name + " = " + std::to_string(value) + ";\n";
}
// A function of a call.
std::string number(const char* name, const char* call, int value) {
    return std::string("    RNNKERNELS_INLINE static constexpr int ") + name + "(const " + call + "&) { return " +
           std::to_string(value) + "; }\n";
}
std::string phase(const char* name, const char* call, const char* at, ProgramPhase runs) {
    return std::string("    RNNKERNELS_INLINE static void ") + name + "(const " + call + "&, const " + at +
           "& at) { do_" + name_of(runs) + "(at); }\n";
}
constexpr const char* kBeginProgram = "namespace rnnkernels::cuda {\nnamespace {\nstruct OneProgram {\n";

std::string maths_of(const OwnProgram& program) {
    using enum ProgramPhase;
    constexpr const char* call = "ResidentCall";
    const CellTable& table = program.table();
    std::string text = program_source(program, Dtype::float32, "", Phases::forward_maths) + kBeginProgram +
                       most("inputs", table.input.count) + number("input_count", call, table.input.count) +
                       most("hiddens", tile_gates(table).all) + number("hidden_count", call, table.hidden.count) +
                       most("states", table.states) + number("state_count", call, table.states) +
                       most("vectors", table.vectors) +
                       number("first_fed", call, table.hidden.count + table.gated.count);
    if (table.vectors > 0)
        text += number("fed_count", call, table.feedback.count) + phase("feed", call, "ResidentProgramFedAt", feedback);
    if (table.form == Form::two_products)
        text += most("saved", table.saved) + number("gated_count", call, table.gated.count) +
                phase("gates", call, "ResidentProgramGatesAt", forward) +
                phase("state", call, "ResidentProgramStateAt", forward_state) +
                "};\nusing Maths = TwoProductsProgramMaths<OneProgram>;\n";
    else
        text +=
            phase("run", call, "ResidentProgramAt", forward) + "};\nusing Maths = ResidentProgramMaths<OneProgram>;\n";
    return text;
}

std::string backward_maths_of(const OwnProgram& program) {
    constexpr const char* call = "ResidentBackwardCall";
    const CellTable& table = program.table();
    const Layout& layout = program.layout;
    std::string text = program_source(program, Dtype::float32, "", Phases::backward_maths) + kBeginProgram +
                       most("hiddens", table.hidden.count) + number("hidden_count", call, table.hidden.count) +
                       most("states", table.states) + number("state_count", call, table.states) +
                       most("saved", table.saved) + number("saved_count", call, table.saved) +
                       number("first_hidden", call, layout.hidden) + number("fed_count", call, table.feedback.count) +
                       number("first_fed", call, layout.feedback);
    // Nothing is declared that a grid backward does not use: nvcc would warn.
    if (table.vectors > 0)
        text += most("vectors", table.vectors) + most("feds", table.feedback.count) +
                phase("feed", call, "ResidentProgramFedBackwardAt", ProgramPhase::feedback_backward);
    if (table.form == Form::two_products)
        return text + most("gateds", table.gated.count) + number("gated_count", call, table.gated.count) +
               most("columns", layout.columns.count) + number("column_count", call, layout.columns.count) +
               number("first_gated", call, layout.gated) +
               phase("state", call, "ResidentProgramStateBackwardAt", ProgramPhase::backward) +
               phase("gates", call, "ResidentProgramGatesBackwardAt", ProgramPhase::backward_gates) +
               "};\nusing Maths = TwoProductsProgramBackward<OneProgram>;\n";
    return text + phase("run", call, "ResidentProgramBackwardAt", ProgramPhase::backward) +
           "};\nusing Maths = ResidentProgramBackward<OneProgram>;\n";
}

std::string built_in(int cell, const char* maths) {
    return std::string("namespace rnnkernels::cuda {\nnamespace {\nusing Maths = ") + maths +
           "<typename NumberedCell<" + std::to_string(cell) + ", AllCells>::type>;\n";
}

std::string braced(const Resident& shape) {
    std::string text = "{" + std::to_string(shape.gates);
    for (const int part : {shape.hidden, shape.warps, shape.blocks, shape.groups}) text += ", " + std::to_string(part);
    return text + ", Operands{" + std::to_string(static_cast<int>(shape.operands)) + "}, " +
           std::to_string(shape.rows) + ", " + std::to_string(shape.vectors) + ", " + std::to_string(shape.fed) + ", " +
           std::to_string(shape.masks) + "}";
}

// The kernel behind its shape, whose namespaces are still open.
std::string kernel_of(const Resident& shape, const char* name, const char* call, const char* runs, const char* stored) {
    return "}  // namespace\n}  // namespace rnnkernels::cuda\n\nextern \"C\" __global__ void __launch_bounds__(" +
           std::to_string(shape.warps * 32) + ", 1) " + name + "(const __grid_constant__ rnnkernels::cuda::" + call +
           " call) {\n    using namespace rnnkernels::cuda;\n    " + runs + "<kShape, Maths, " + stored +
           ">(call);\n}\n";
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
    return program ? maths_of(*program) : built_in(number, "ResidentMathsOf");
}

std::string resident_backward_maths(int number, const OwnProgram* program) {
    return program ? backward_maths_of(*program) : built_in(number, "ResidentBackwardMathsOf");
}

std::string resident_source(int number, const OwnProgram* program, const Resident& shape, Dtype storage, bool pair) {
    return resident_maths(number, program) + "constexpr Resident kShape" + braced(shape) + ";\n" +
           kernel_of(shape, kResidentKernel, pair ? "ResidentPair" : "ResidentCall", "run_resident",
                     stored_name(shape.operands, storage));
}

std::string resident_backward_source(int number, const OwnProgram* program, const ResidentBackward& shape,
                                     Dtype storage, bool pair) {
    return resident_backward_maths(number, program) + "constexpr ResidentBackward kShape{" + braced(shape.of) + "};\n" +
           kernel_of(shape.of, kResidentBackwardKernel, pair ? "ResidentBackwardPair" : "ResidentBackwardCall",
                     "run_resident_backward", stored_name(shape.of.operands, storage));
}

}  // namespace rnnkernels::cuda
