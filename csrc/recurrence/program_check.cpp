// The checks, phase after phase: what is there to be read, and what an instruction may write.
#include "program_check.h"

#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "heads.h"

namespace rnnkernels {
namespace {

using enum OperandKind;

constexpr int kKinds = kOperandKindCount;

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument(what); }

void check_range(const std::string& what, int value, int low, int high) {
    if (value < low || value > high)
        refuse(what + ": expected " + std::to_string(low) + " to " + std::to_string(high) + ", got " +
               std::to_string(value));
}

bool is(const char* a, const char* b) { return std::strcmp(a, b) == 0; }

template <std::size_t count>
void check_word(const std::string& what, const char* word, const char* const (&known)[count]) {
    std::string all;
    for (const char* one : known) {
        if (is(one, word)) return;
        all += (all.empty() ? "" : ", ") + std::string(one);
    }
    refuse(what + ": expected one of " + all + ", got '" + word + "'");
}

constexpr unsigned bit(OperandKind kind) { return 1U << static_cast<unsigned>(kind); }
template <class... Kinds>
constexpr unsigned bits(Kinds... kinds) {
    return (bit(kinds) | ...);
}

// What a phase reads of what stood there before it, and what it writes; registers and constants beside that. What a
// phase has written it may read.
struct Access {
    unsigned reads, writes;
};

Access access_of(ProgramPhase phase, bool two_products) {
    constexpr unsigned of_step = bits(input, direct, weight, step, state);
    switch (phase) {
        case ProgramPhase::forward:
            return {of_step | bits(hidden, fed), two_products ? bits(saved, made) : bits(saved, new_)};
        case ProgramPhase::forward_state: return {of_step | bits(gated, saved), bits(saved, new_)};
        case ProgramPhase::backward:
            return {bits(saved, state, new_, d_new, weight, step), bits(slot, d_state, d_step)};
        case ProgramPhase::backward_gates:
            return {bits(saved, state, slot, d_state, d_made, weight, step), bits(slot, d_state, made, d_step)};
        case ProgramPhase::feedback: return {bits(state, new_, step), bits(vector)};
        default: return {bits(new_, d_vector, d_new, step), bits(d_new, d_step)};
    }
}

// Programs of one cell, phase after phase.
class Check {
public:
    Check(ProgramOperation operation, const CellTable& table, const ProgramCell& cell)
        : operation_(operation), table_(table), cell_(cell) {
        const int counts[kKinds] = {
            kMostRegisters,        cell.constant_count,   table.input.count, table.directs > 0, table.hidden.count,
            table.feedback.count,  table.gated.count,     table.diagonals,   table.elements,    table.states,
            table.states,          table.saved,           table.states,      table.states,      table.slots,
            table.gated.count > 0, table.gated.count > 0, table.vectors,     table.vectors,     table.elements};
        for (int kind = 0; kind < kKinds; ++kind) {
            count_[kind] = counts[kind];
            written_[kind].resize(static_cast<std::size_t>(counts[kind]));
        }
    }

    void run() {
        const bool two = table_.form == Form::two_products, feeds = table_.vectors > 0;
        phase(ProgramPhase::forward, true);
        phase(ProgramPhase::forward_state, two);
        all_written("forward", bits(new_, saved, made));
        forget(bits(made));
        phase(ProgramPhase::backward, true);
        phase(ProgramPhase::backward_gates, two);
        all_written("backward", bits(slot, d_state, made, d_step));
        forget(bits(d_step));
        phase(ProgramPhase::feedback, feeds);
        all_written("feedback", bits(vector));
        phase(ProgramPhase::feedback_backward, feeds);
    }

private:
    void phase(ProgramPhase phase, bool wanted) {
        const Program& program = cell_.programs[static_cast<int>(phase)];
        program_ = std::string("programs['") + kProgramPhases[static_cast<int>(phase)] + "']";
        if (!wanted && program.count > 0) refuse(program_ + ": expected none of a cell with such gates, got one");
        if (wanted && program.count == 0) refuse(program_ + ": expected a program of a cell with such gates, got none");
        check_range(program_ + ": registers", program.registers, 0, kMostRegisters);
        check_range(program_ + ": instructions", program.count, 0, kMostInstructions);
        phase_ = phase, access_ = access_of(phase, table_.form == Form::two_products);
        count_[static_cast<int>(register_)] = program.registers;
        forget(bits(register_));
        std::vector<bool> places[kKinds];
        for (int kind = 0; kind < kKinds; ++kind) places[kind].resize(written_[kind].size());
        for (int i = 0; i < program.count; ++i) instruction(program.instructions[i], i, places);
        int count = program.registers;
        for (int kind = 1; kind < kKinds; ++kind)
            for (const bool used : places[kind]) count += used;
        check_range(program_ + ": different operands", count, 0, kMostPlaces);
    }

    void instruction(const Instruction& instruction, int number, std::vector<bool>* places) {
        int operands = 0;
        const char* const name = operation_(instruction.operation, operands);
        const std::string where = program_ + ", instruction " + std::to_string(number);
        if (!name)
            refuse(where + ": expected the number of an operation, got " + std::to_string(instruction.operation));
        where_ = where + " (" + name + ")";
        for (int k = 0; k < operands; ++k) read(instruction.in[k]), place(instruction.in[k], places);
        write(instruction.out), place(instruction.out, places);
    }
    void place(const Operand& operand, std::vector<bool>* places) const {
        places[static_cast<int>(operand.kind)][static_cast<std::size_t>(operand.index)] = true;
    }

    std::string text(const Operand& operand) const {
        return std::string(kOperandKinds[static_cast<int>(operand.kind)]) + " " + std::to_string(operand.index);
    }
    void check_place(const Operand& operand) const {
        const int kind = static_cast<int>(operand.kind);
        if (kind < 0 || kind >= kKinds)
            refuse(where_ + ": expected the number of a kind of operands, got " + std::to_string(kind));
        if (operand.index < 0 || operand.index >= count_[kind])
            refuse(where_ + ": expected one of " + std::to_string(count_[kind]) + " operands of this kind, got " +
                   text(operand));
    }
    bool written(const Operand& operand) const {
        return written_[static_cast<int>(operand.kind)][static_cast<std::size_t>(operand.index)];
    }

    void read(const Operand& operand) const {
        check_place(operand);
        const unsigned kind = bit(operand.kind);
        if (operand.kind == constant) return;
        const bool given = (access_.reads & kind) != 0, made_here = ((access_.writes | bits(register_)) & kind) != 0;
        if (!given && !made_here) refuse(where_ + ": expected what this phase reads, got " + text(operand));
        // A half that comes second finds what the first one left there.
        const bool of_halves = (kind & bits(saved, slot, d_state)) != 0;
        if ((!given || (of_halves && made_here)) && !written(operand))
            refuse(where_ + ": expected what was written before, got " + text(operand));
        const bool hidden_by =
            (operand.kind == state && phase_ != ProgramPhase::feedback && written_now({new_, operand.index})) ||
            (operand.kind == d_new && phase_ == ProgramPhase::backward && written_now({d_state, operand.index}));
        if (hidden_by)
            refuse(where_ + ": expected what still stands there, got " + text(operand) +
                   ", which was overwritten by what comes of it");
    }
    // In a phase that writes these.
    bool written_now(const Operand& operand) const {
        return (access_.writes & bit(operand.kind)) != 0 && written(operand);
    }

    void write(const Operand& operand) {
        check_place(operand);
        if (((access_.writes | bits(register_)) & bit(operand.kind)) == 0)
            refuse(where_ + ": expected what this phase writes, got " + text(operand));
        if (phase_ == ProgramPhase::backward_gates && operand.kind == slot)
            for (int i = 0; i < table_.gated.count; ++i)
                if (table_.gated.slot[i] == operand.index)
                    refuse(where_ + ": expected a slot that the product of the gated state does not read, got " +
                           text(operand));
        written_[static_cast<int>(operand.kind)][static_cast<std::size_t>(operand.index)] = true;
    }

    void all_written(const char* pass, unsigned kinds) const {
        for (int kind = 0; kind < kKinds; ++kind) {
            if ((kinds >> kind & 1U) == 0) continue;
            for (std::size_t i = 0; i < written_[kind].size(); ++i)
                if (!written_[kind][i])
                    refuse(std::string("programs: expected the ") + pass + " to write " + kOperandKinds[kind] + " " +
                           std::to_string(i) + ", which it never does");
        }
    }
    void forget(unsigned kinds) {
        for (int kind = 0; kind < kKinds; ++kind)
            if ((kinds >> kind & 1U) != 0) written_[kind].assign(written_[kind].size(), false);
    }

    const ProgramOperation operation_;
    const CellTable& table_;
    const ProgramCell& cell_;
    std::string program_, where_;
    ProgramPhase phase_{};
    Access access_{};
    int count_[kKinds]{};
    std::vector<bool> written_[kKinds];
};

}  // namespace

void check_gates(const ProgramCell& cell) {
    static constexpr const char* inputs[] = {"none", "projected", "direct"};
    static constexpr const char* operands[] = {"none", "hidden", "feedback", "gated"};
    static constexpr const char* initials[] = {"drawn", "zero", "one"};
    check_range("saved", cell.saved, 0, 64);
    check_range("slots", cell.slots, 1, 64);
    check_range("vectors", cell.vectors, 0, kMaxStates);
    check_range("heads", cell.heads, 1, kMostHeads);
    int feedbacks = 0, products = 0;
    for (int g = 0; g < cell.gate_count; ++g) {
        const ProgramGate& gate = cell.gates[g];
        const std::string name = std::string("gates: ") + gate.name;
        check_word(name + ": input", gate.input, inputs);
        check_word(name + ": operand", gate.operand, operands);
        const bool has_x = !is(gate.input, "none"), has_u = !is(gate.operand, "none");
        if (!has_x && !has_u) refuse(name + ": expected an input or an operand, got neither");
        check_range(name + ": dx_slot", gate.dx, has_x ? 0 : -1, has_x ? cell.slots - 1 : -1);
        check_range(name + ": du_slot", gate.du, has_u ? 0 : -1, has_u ? cell.slots - 1 : -1);
        feedbacks += is(gate.operand, "feedback"), products += has_u;
    }
    if ((feedbacks > 0) != (cell.vectors > 0))
        refuse("vectors: expected " + std::string(feedbacks ? "at least 1" : "0") + " of a cell with " +
               std::to_string(feedbacks) + " gates of what is fed back, got " + std::to_string(cell.vectors));
    if (cell.heads > 1 && (products == 0 || cell.vectors > 1))
        refuse(std::string("heads: expected 1 of a cell ") +
               (products == 0 ? "without a product" : "whose products have several vectors") + ", got " +
               std::to_string(cell.heads));
    for (int k = 0; k < cell.weight_count; ++k) {
        const std::string name = std::string("weights: ") + cell.weights[k].name;
        check_word(name + ": initial", cell.weights[k].initial, initials);
        check_range(name + ": slot", cell.weights[k].slot, 0, cell.slots - 1);
    }
    for (int i = 0; i < cell.constant_count; ++i)
        if (std::isnan(cell.constants[i])) refuse("constants: expected numbers, got a NaN");
}

void check_programs(ProgramOperation operation, const CellTable& table, const ProgramCell& cell) {
    Check(operation, table, cell).run();
}

}  // namespace rnnkernels
