// The text behind program_source.h. Values are named by their operands: `hidden_2`, `register_0`.
#include "program_source.h"

#include <cmath>
#include <cstdio>
#include <set>

namespace rnnkernels::cuda {
namespace {

using enum OperandKind;

std::string number(double value) {
    if (std::isinf(value)) return value > 0 ? "__builtin_inf()" : "-__builtin_inf()";
    char text[40];
    std::snprintf(text, sizeof text, "%a", value);  // all of its bits
    return text;
}

// A list of arguments.
template <class... Numbers>
std::string list(Numbers... numbers) {
    std::string text;
    ((text += (text.empty() ? "" : ", ") + std::to_string(numbers)), ...);
    return text;
}

class Source {
public:
    Source(const OwnProgram& program, bool wide, const std::string& prefix, Phases phases)
        : program_(program),
          table_(program.table()),
          type_(wide ? "double" : "float"),
          prefix_(prefix),
          phases_(phases) {}

    std::string write() {
        text_ = "namespace rnnkernels::cuda {\nnamespace {\n";
        for (int phase = 0; phase < kProgramPhaseCount; ++phase)
            if (has(phase)) maths(static_cast<ProgramPhase>(phase));
        text_ += "\n}  // namespace\n}  // namespace rnnkernels::cuda\n";
        for (int phase = 0; phase < kProgramPhaseCount && !maths_alone(); ++phase)
            if (has(phase)) kernel(static_cast<ProgramPhase>(phase));
        return text_;
    }

private:
    bool has(int phase) const {
        if (program_.phases[phase].instructions.empty()) return false;
        return phases_ == Phases::both || (phases_ == Phases::backward || phases_ == Phases::backward_maths) ==
                                              is_backward(static_cast<ProgramPhase>(phase));
    }
    bool maths_alone() const { return phases_ == Phases::forward_maths || phases_ == Phases::backward_maths; }
    static bool is_backward(ProgramPhase phase) {
        return phase == ProgramPhase::backward || phase == ProgramPhase::backward_gates ||
               phase == ProgramPhase::feedback_backward;
    }
    std::string at_of(ProgramPhase phase) const {
        if (!is_backward(phase)) return "ProgramForwardAt<" + type_ + ">";
        return "ProgramBackwardAt<" + type_ + (phase == ProgramPhase::feedback_backward ? ", true>" : ", false>");
    }

    std::string value(const ProgramOperand& operand) const {
        if (operand.kind == constant) {
            const double given = program_.constants[static_cast<std::size_t>(operand.index)];
            return "V(" + type_ + "(" + number(given) + "))";
        }
        return std::string(kOperandKinds[static_cast<int>(operand.kind)]) + "_" + std::to_string(operand.index);
    }

    // What places an operand in memory, beside its index.
    std::string place(const ProgramOperand& operand) const {
        const int i = operand.index;
        const auto of = [i](const ProductGates& gates) { return list(i, gates.count, gates.row[i] - gates.row[0]); };
        switch (operand.kind) {
            case input: return list(i, table_.input.count);
            case hidden: return of(table_.hidden);
            case fed: return of(table_.feedback);
            case gated: return of(table_.gated);
            case d_new: return list(i, table_.hidden.count);
            case slot: return list(program_.layout.columns.of(i), program_.layout.columns.count);
            case vector:
            case d_vector: return list(i, table_.vectors);
            case direct:
            case made:
            case d_made: return "";
            default: return list(i);
        }
    }

    void read(const ProgramOperand& operand) {
        const std::string kind = kOperandKinds[static_cast<int>(operand.kind)];
        line("V " + value(operand) + " = at.get_" + kind + "(" + place(operand) + ");");
    }
    void write(const ProgramOperand& operand) {
        const Columns& columns = program_.layout.columns;
        const std::string kind = kOperandKinds[static_cast<int>(operand.kind)];
        const auto put = [&](const std::string& where) {
            line("at.set_" + kind + "(" + where + (where.empty() ? "" : ", ") + value(operand) + ");");
        };
        if (operand.kind == d_new) return put(list(operand.index));
        if (operand.kind != slot) return put(place(operand));
        for (int column = 0; column < columns.count; ++column)
            if (columns.slot[column] == operand.index) put(list(column, columns.count));
    }

    void maths(ProgramPhase phase) {
        const OwnPhase& own = program_.phases[static_cast<int>(phase)];
        text_ +=
            "\ntemplate <class At>\nRNNKERNELS_INLINE void " + prefix_ + "do_" + name_of(phase) + "(const At& at) {\n";
        line("using V = Vec<" + type_ + ">;");
        std::set<std::string> known;
        for (const ProgramOperand& operand : own.reads) read(operand), known.insert(value(operand));
        for (const Instruction& instruction : own.instructions) {
            int operands = 0;
            const std::string operation = program_operation(instruction.operation, operands);
            std::string arguments;
            for (int k = 0; k < operands; ++k) arguments += (k ? ", " : "") + value(instruction.in[k]);
            const std::string out = value(instruction.out);
            line((known.insert(out).second ? "V " : "") + out + " = operation_" + operation + "(" + arguments + ");");
        }
        for (const ProgramOperand& operand : own.writes) write(operand);
        text_ += "}\n";
    }

    void kernel(ProgramPhase phase) {
        const std::string arrays = is_backward(phase) ? "BackwardArrays" : "ForwardArrays";
        text_ += "\nRNNKERNELS_KERNEL(" + prefix_ + name_of(phase) + ", rnnkernels::cuda::" + arrays + "<" + type_ +
                 ">) {\n";
        line("using namespace rnnkernels::cuda;");
        line("run_thread(rows, units, [&](rnnkernels::Index row, rnnkernels::Index unit) {");
        line("    const " + at_of(phase) + " at{a, row, unit};");
        if (phase == ProgramPhase::backward) line("    at.keep_operand();");
        if (phase == ProgramPhase::feedback_backward) line("    at.join_product();");
        line("    " + prefix_ + "do_" + name_of(phase) + "(at);");
        if (is_backward(phase) && phase != ProgramPhase::feedback_backward)
            line("    at.add_past(" + list(table_.states) + ");");
        line("});");
        text_ += "}\n";
    }

    void line(const std::string& text) { text_ += "    " + text + "\n"; }

    const OwnProgram& program_;
    const CellTable& table_;
    const std::string type_, prefix_;
    const Phases phases_;
    std::string text_;
};

}  // namespace

std::string program_source(const OwnProgram& program, Dtype dtype, const std::string& prefix, Phases phases) {
    return Source(program, dtype == Dtype::float64, prefix, phases).write();
}

}  // namespace rnnkernels::cuda
