// The list behind program_cells.h: cells are only ever added, as on the CPU (cpu/cells.cpp).
#include "program_cells.h"

#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>

#include "../cells/all.h"
#include "../passes/operation_list.h"
#include "../recurrence/program_check.h"
#include "../recurrence/program_table.h"
#include "engines.h"
#include "program_launches.h"

namespace rnnkernels::cuda {
namespace {

struct AddedCell {
    AddedCell(const CellTable& table, const ProgramCell& cell)
        : program(table, cell), cell{&program.table(), launches_of<float>(program), launches_of<double>(program)} {}

    const OwnProgram program;
    const Cell cell;
};

constexpr int kMostAdded = 4096;

struct AddedCells {
    std::mutex guard;  // of those who add
    const AddedCell* cells[kMostAdded] = {};
    std::atomic<int> count{0};
};

// Never destroyed: a daemon thread may be in a call when the program ends.
AddedCells& added() {
    static auto* cells = new AddedCells;
    return *cells;
}

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument("cell: " + what); }

struct OperationInfo {
    const char* name;
    int operands;
};
#define RNNKERNELS_1(name, ...) {#name, 1},
#define RNNKERNELS_2(name, ...) {#name, 2},
#define RNNKERNELS_3(name, ...) {#name, 3},
#define RNNKERNELS_4(name, ...) {#name, 4},
constexpr OperationInfo kInfos[] = {RNNKERNELS_OPERATIONS(RNNKERNELS_1, RNNKERNELS_2, RNNKERNELS_3, RNNKERNELS_4)};
#undef RNNKERNELS_1
#undef RNNKERNELS_2
#undef RNNKERNELS_3
#undef RNNKERNELS_4

void add_once(std::vector<ProgramOperand>& list, const ProgramOperand& operand) {
    for (const ProgramOperand& one : list)
        if (one.kind == operand.kind && one.index == operand.index) return;
    list.push_back(operand);
}
bool has(const std::vector<ProgramOperand>& list, const ProgramOperand& operand) {
    for (const ProgramOperand& one : list)
        if (one.kind == operand.kind && one.index == operand.index) return true;
    return false;
}

void keep(const Program& program, OwnPhase& phase) {
    phase.registers = program.registers;
    phase.instructions.assign(program.instructions, program.instructions + program.count);
    for (const Instruction& instruction : phase.instructions) {
        int operands = 0;
        program_operation(instruction.operation, operands);
        for (int k = 0; k < operands; ++k) {
            const ProgramOperand& in = instruction.in[k];
            const bool of_memory = in.kind != OperandKind::register_ && in.kind != OperandKind::constant;
            if (of_memory && !has(phase.writes, in)) add_once(phase.reads, in);
        }
        if (instruction.out.kind != OperandKind::register_) add_once(phase.writes, instruction.out);
    }
}

}  // namespace

OwnProgram::OwnProgram(const CellTable& table, const ProgramCell& cell)
    : own(table), layout(layout_of(table)), constants(cell.constants, cell.constants + cell.constant_count) {
    for (int phase = 0; phase < kProgramPhaseCount; ++phase) keep(cell.programs[phase], phases[phase]);
}

const char* program_operation(int number, int& operands) {
    if (number < 0 || number >= static_cast<int>(sizeof kInfos / sizeof kInfos[0])) return nullptr;
    operands = kInfos[number].operands;
    return kInfos[number].name;
}

int program_count() { return added().count.load(); }
const Cell& program_cell(int number) { return added().cells[number]->cell; }
const OwnProgram& program_of(int number) { return added().cells[number]->program; }

int add_program(const ProgramCell& cell) {
    check_gates(cell);
    const CellTable table = table_of(cell);
    check_table(table);
    check_programs(program_operation, table, cell);
    const std::lock_guard<std::mutex> lock(added().guard);
    const int number = added().count.load();
    if (number == kMostAdded) refuse("expected at most " + std::to_string(kMostAdded) + " cells from elsewhere");
    for (int i = 0; i < cell_count<AllCells> + number; ++i)
        if (std::strcmp(backend().cell(i).name, table.info.name) == 0)
            refuse(std::string("expected a new name, got ") + table.info.name + ", which is taken");
    added().cells[number] = new AddedCell(table, cell);
    added().count.store(number + 1);
    return number;
}

}  // namespace rnnkernels::cuda
