// Python's records of a program become plain data, which the backend checks.
#include "programs.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <map>
#include <tuple>

#include <pybind11/stl.h>

namespace rnnkernels::binding {
namespace {

using Names = std::vector<std::string>;
using GateRecord = std::tuple<std::string, std::string, std::string, int, int>;
using WeightRecord = std::tuple<std::string, std::string, int>;
using ProgramRecord = std::tuple<int, std::vector<std::vector<int>>>;

// An instruction as a row of numbers: operation, then kind and index of what it writes, and of each that it reads.
Instruction read_instruction(const std::vector<int>& numbers, const std::string& where) {
    int operands = 0;
    if (numbers.empty() || !backend().program_operation(numbers[0], operands))
        throw py::value_error(where + ": expected the number of an operation first, got " +
                              (numbers.empty() ? "nothing" : std::to_string(numbers[0])));
    if (numbers.size() != static_cast<std::size_t>(3 + 2 * operands))
        throw py::value_error(where + ": expected " + std::to_string(3 + 2 * operands) + " numbers, got " +
                              std::to_string(numbers.size()));
    Instruction instruction{};
    instruction.operation = numbers[0];
    const auto operand = [&](std::size_t at) {
        return Operand{static_cast<OperandKind>(numbers[at]), numbers[at + 1]};
    };
    instruction.out = operand(1);
    for (int k = 0; k < operands; ++k) instruction.in[k] = operand(static_cast<std::size_t>(3 + 2 * k));
    return instruction;
}

template <class Records>
int counted(const char* what, const Records& records, int most) {
    if (records.size() > static_cast<std::size_t>(most))
        throw py::value_error(std::string(what) + ": expected at most " + std::to_string(most) + ", got " +
                              std::to_string(records.size()));
    return static_cast<int>(records.size());
}

void add_program(const std::string& name, const Names& states, const std::vector<GateRecord>& gates,
                 const std::vector<WeightRecord>& weights, const Names& steps, int saved, int slots, int vectors,
                 const std::vector<double>& constants, const std::map<std::string, ProgramRecord>& programs, int heads,
                 const Names& sigmoids) {
    ProgramCell cell{};
    cell.name = name.c_str();
    cell.state_count = counted("states", states, kMaxStates);
    for (std::size_t k = 0; k < states.size(); ++k) cell.states[k] = states[k].c_str();
    cell.gate_count = counted("gates", gates, kMaxGates);
    for (std::size_t g = 0; g < gates.size(); ++g) {
        const auto& [gate, input, operand, dx, du] = gates[g];
        const bool sigmoid =
            input == "projected" && std::find(sigmoids.begin(), sigmoids.end(), gate) != sigmoids.end();
        cell.gates[g] = {gate.c_str(), input.c_str(), operand.c_str(), dx, du, sigmoid};
    }
    cell.weight_count = counted("weights", weights, kMaxGates);
    for (std::size_t k = 0; k < weights.size(); ++k) {
        const auto& [weight, initial, slot] = weights[k];
        cell.weights[k] = {weight.c_str(), initial.c_str(), slot};
    }
    cell.element_count = counted("steps", steps, kMaxElements);
    for (std::size_t k = 0; k < steps.size(); ++k) cell.elements[k] = steps[k].c_str();
    cell.saved = saved, cell.slots = slots, cell.vectors = vectors, cell.heads = heads;
    cell.constant_count = counted("constants", constants, kMostConstants);
    cell.constants = constants.data();
    std::vector<Instruction> instructions[kProgramPhaseCount];
    for (const auto& [phase, program] : programs) {
        int number = 0;
        while (number < kProgramPhaseCount && phase != kProgramPhases[number]) ++number;
        if (number == kProgramPhaseCount)
            throw py::value_error("programs: expected names of phases, got '" + phase + "'");
        const auto& [registers, rows] = program;
        for (std::size_t i = 0; i < rows.size(); ++i)
            instructions[number].push_back(
                read_instruction(rows[i], "programs['" + phase + "'], instruction " + std::to_string(i)));
        cell.programs[number] = {registers, counted("programs: instructions", rows, kMostInstructions),
                                 instructions[number].data()};
    }
    backend().add_program(cell);
}

py::tuple operations() {
    py::list names;
    int operands = 0;
    for (int i = 0; const char* name = backend().program_operation(i, operands); ++i) names.append(name);
    return py::tuple(names);
}

py::tuple operands() {
    py::list kinds;
    for (const char* kind : kOperandKinds) kinds.append(kind);
    return py::tuple(kinds);
}

}  // namespace

void bind_programs(py::module_& m) {
    m.def("add_program", &add_program, py::arg("name"), py::arg("states"), py::arg("gates"), py::arg("weights"),
          py::arg("steps"), py::arg("saved"), py::arg("slots"), py::arg("vectors"), py::arg("constants"),
          py::arg("programs"), py::arg("heads") = 1, py::arg("sigmoids") = Names{});
    m.def("program_operations", &operations);
    m.def("program_operands", &operands);
}

}  // namespace rnnkernels::binding
