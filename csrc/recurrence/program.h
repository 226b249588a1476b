// A cell as data: its gates, and its maths as programs of vector operations. Whoever makes one hands it to
// Backend::add_program, which makes a CellTable of the gates and passes of the programs, so that it is a cell as the
// built-in ones are. Not here: what an operation computes (passes/operation_list.h), how a program runs
// (passes/program_pass.cpp, cuda/program_launches.h), what one may do (program_check.h).
#pragma once

#include "problem.h"

namespace rnnkernels {

// What an operand is: of `index` k the k-th of its kind.
enum class OperandKind {
    register_,  // of the program
    constant,
    input,     // what weight_ih gives gate k of those that it feeds
    direct,    // x itself
    hidden,    // what weight_hh gives gate k of those that multiply h
    fed,       // the same of the vectors that are fed back
    gated,     // the same of the gated state
    weight,    // an element-wise weight
    step,      // an element-wise input of the step
    state,     // before the step
    new_,      // a state after the step
    saved,     // what the forward keeps for the backward
    d_new,     // everything that comes to a state after the step
    d_state,   // dL/dstate, along element-wise paths
    slot,      // a gradient slot
    made,      // the gated state
    d_made,    // its gradient
    vector,    // of those that are fed back
    d_vector,  // its gradient
    d_step,
};
inline constexpr const char* kOperandKinds[] = {
    "register", "constant", "input", "direct",  "hidden", "fed",  "gated",  "weight", "step",     "state",
    "new",      "saved",    "d_new", "d_state", "slot",   "made", "d_made", "vector", "d_vector", "d_step"};
inline constexpr int kOperandKindCount = sizeof(kOperandKinds) / sizeof(kOperandKinds[0]);

struct Operand {
    OperandKind kind;
    int index;
};

inline constexpr int kMostOperands = 4;

struct Instruction {
    int operation;  // a number of Backend::operation
    Operand out;
    Operand in[kMostOperands];  // as many as the operation has
};

// Of one phase.
struct Program {
    int registers;
    int count;  // 0: the cell has no such phase
    const Instruction* instructions;
};

// The phases that a cell may have, as passes/strip.h has them: of a cell of two products forward and backward are the
// first halves.
enum class ProgramPhase { forward, forward_state, backward, backward_gates, feedback, feedback_backward };
inline constexpr const char* kProgramPhases[] = {"forward",        "forward_state", "backward",
                                                 "backward_gates", "feedback",      "feedback_backward"};
inline constexpr int kProgramPhaseCount = 6;

inline constexpr int kMostRegisters = 64;
inline constexpr int kMostConstants = 256;
inline constexpr int kMostInstructions = 1024;
inline constexpr int kMostPlaces = 256;  // different operands of one phase

struct ProgramGate {
    const char* name;
    const char* input;    // "none", "projected", "direct"
    const char* operand;  // "none", "hidden", "feedback", "gated"
    int dx, du;           // gradient slots of its two parts; -1 where it has none
    bool sigmoid;         // sigmoids alone read it (cells/cell.h: Reader)
};

struct ProgramWeight {
    const char* name;
    const char* initial;  // "drawn", "zero", "one"
    int slot;
};

struct ProgramCell {
    const char* name;
    int state_count;
    const char* states[kMaxStates];
    int gate_count;
    ProgramGate gates[kMaxGates];  // in the order of their rows
    int weight_count;
    ProgramWeight weights[kMaxGates];
    int element_count;
    const char* elements[kMaxElements];  // inputs of a step that act unit by unit
    int saved, slots;
    int vectors;  // fed back to the next step
    int heads;    // of weight_hh (heads.h); 1: it is dense
    int constant_count;
    const double* constants;
    Program programs[kProgramPhaseCount];
};

}  // namespace rnnkernels
