// Cells that are programs, where there is no GPU: each is run instruction by instruction, with the loads and stores of
// csrc/cuda/program_bodies.h. A test may put source that was made of a program and compiled for the host in its place
// (emulated_compiled).
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "cuda/program_bodies.h"
#include "cuda/program_launches.h"
#include "cuda/queue.h"
#include "cuda/resident/two_products_backward_program_maths.h"
#include "cuda/resident/two_products_program_maths.h"
#include "emulated_grid.h"
#include "emulated_resident.h"

namespace rnnkernels::cuda {
namespace {

using enum OperandKind;

template <class T>
using Operate = Vec<T> (*)(const Vec<T>* in);

#define RNNKERNELS_1(name, ...) \
    [](const V* in) {           \
        const V a = in[0];      \
        return V(__VA_ARGS__);  \
    },
#define RNNKERNELS_2(name, ...)       \
    [](const V* in) {                 \
        const V a = in[0], b = in[1]; \
        return V(__VA_ARGS__);        \
    },
#define RNNKERNELS_3(name, ...)                  \
    [](const V* in) {                            \
        const V a = in[0], b = in[1], c = in[2]; \
        return V(__VA_ARGS__);                   \
    },
#define RNNKERNELS_4(name, ...)                             \
    [](const V* in) {                                       \
        const V a = in[0], b = in[1], c = in[2], d = in[3]; \
        return V(__VA_ARGS__);                              \
    },
template <class T, class V = Vec<T>>
constexpr Operate<T> kOperate[] = {RNNKERNELS_OPERATIONS(RNNKERNELS_1, RNNKERNELS_2, RNNKERNELS_3, RNNKERNELS_4)};
#undef RNNKERNELS_1
#undef RNNKERNELS_2
#undef RNNKERNELS_3
#undef RNNKERNELS_4

// A phase with a place for each of its values.
struct Plan {
    struct Step {
        int operation, operands, out, in[kMostOperands];
    };
    struct Place {
        ProgramOperand operand;
        int value;
    };
    std::vector<Step> steps;
    std::vector<Place> reads, writes, constants;
    int values = 0;
};

Plan make_plan(const OwnPhase& phase) {
    Plan plan;
    std::map<std::pair<OperandKind, int>, int> value;
    const auto of = [&](const ProgramOperand& operand) {
        const auto [found, is_new] = value.try_emplace({operand.kind, operand.index}, plan.values);
        if (is_new) {
            ++plan.values;
            if (operand.kind == constant) plan.constants.push_back({operand, found->second});
        }
        return found->second;
    };
    for (const ProgramOperand& read : phase.reads) plan.reads.push_back({read, of(read)});
    for (const Instruction& instruction : phase.instructions) {
        Plan::Step step{};
        step.operation = instruction.operation;
        program_operation(instruction.operation, step.operands);
        for (int k = 0; k < step.operands; ++k) step.in[k] = of(instruction.in[k]);
        step.out = of(instruction.out);
        plan.steps.push_back(step);
    }
    for (const ProgramOperand& written : phase.writes) plan.writes.push_back({written, of(written)});
    return plan;
}

// Source that was compiled for the host.
using Compiled = void (*)(Index rows, Index units, const void* arrays);

struct Interpreted {
    const OwnProgram& program;
    Plan plans[kProgramPhaseCount];
    Compiled compiled[2][kProgramPhaseCount] = {};  // of float32, of float64; null: none

    explicit Interpreted(const OwnProgram& of) : program(of) {
        for (int phase = 0; phase < kProgramPhaseCount; ++phase) plans[phase] = make_plan(of.phases[phase]);
    }
};

#define GET(kind, ...)                              \
    case kind:                                      \
        if constexpr (requires { at.__VA_ARGS__; }) \
            return at.__VA_ARGS__;                  \
        else                                        \
            break

template <class At>
typename At::V get(const At& at, const OwnProgram& program, const ProgramOperand& operand) {
    const CellTable& t = program.table();
    const int i = operand.index, columns = program.layout.columns.count;
    const auto row = [i](const ProductGates& gates) { return gates.row[i] - gates.row[0]; };
    switch (operand.kind) {
        GET(input, get_input(i, t.input.count));
        GET(direct, get_direct());
        GET(hidden, get_hidden(i, t.hidden.count, row(t.hidden)));
        GET(fed, get_fed(i, t.feedback.count, row(t.feedback)));
        GET(gated, get_gated(i, t.gated.count, row(t.gated)));
        GET(weight, get_weight(i));
        GET(step, get_step(i));
        GET(state, get_state(i));
        GET(new_, get_new(i));
        GET(saved, get_saved(i));
        GET(d_new, get_d_new(i, t.hidden.count));
        GET(d_state, get_d_state(i));
        GET(slot, get_slot(program.layout.columns.of(i), columns));
        GET(d_made, get_d_made());
        GET(d_vector, get_d_vector(i, t.vectors));
        default: break;
    }
    std::abort();  // no program that was checked reads it
}

#define SET(kind, ...)                                              \
    case kind:                                                      \
        if constexpr (requires { at.__VA_ARGS__; }) at.__VA_ARGS__; \
        break

template <class At>
void set(const At& at, const OwnProgram& program, const ProgramOperand& operand, typename At::V value) {
    const int i = operand.index;
    const Columns& columns = program.layout.columns;
    switch (operand.kind) {
        SET(new_, set_new(i, value));
        SET(saved, set_saved(i, value));
        SET(made, set_made(value));
        SET(vector, set_vector(i, program.table().vectors, value));
        SET(d_new, set_d_new(i, value));
        SET(d_state, set_d_state(i, value));
        SET(d_step, set_d_step(i, value));
        case slot:
            if constexpr (requires { at.set_slot(0, 0, value); })
                for (int column = 0; column < columns.count; ++column)
                    if (columns.slot[column] == i) at.set_slot(column, columns.count, value);
            break;
        default: std::abort();
    }
}

template <class At>
void run(const At& at, const Interpreted& of, ProgramPhase phase) {
    using V = typename At::V;
    const Plan& plan = of.plans[static_cast<int>(phase)];
    V value[kMostPlaces], in[kMostOperands];
    for (const Plan::Place& place : plan.constants)
        value[place.value] = V(static_cast<typename V::Lane>(of.program.constants[place.operand.index]));
    for (const Plan::Place& place : plan.reads) value[place.value] = get(at, of.program, place.operand);
    for (const Plan::Step& step : plan.steps) {
        for (int k = 0; k < step.operands; ++k) in[k] = value[step.in[k]];
        value[step.out] = kOperate<typename V::Lane>[step.operation](in);
    }
    for (const Plan::Place& place : plan.writes) set(at, of.program, place.operand, value[place.value]);
}

template <ProgramPhase phase, class T>
struct Body {
    static constexpr bool backwards = phase == ProgramPhase::backward || phase == ProgramPhase::backward_gates ||
                                      phase == ProgramPhase::feedback_backward;
    using Arrays = std::conditional_t<backwards, BackwardArrays<T>, ForwardArrays<T>>;
    const Interpreted& of;
    Arrays a;

    void operator()(Index row, Index unit) const {
        if constexpr (!backwards) {
            run(ProgramForwardAt<T>{a, row, unit}, of, phase);
        } else {
            const ProgramBackwardAt<T, phase == ProgramPhase::feedback_backward> at{a, row, unit};
            if constexpr (phase == ProgramPhase::backward) at.keep_operand();
            if constexpr (phase == ProgramPhase::feedback_backward) at.join_product();
            run(at, of, phase);
            if constexpr (phase != ProgramPhase::feedback_backward) at.add_past(of.program.table().states);
        }
    }
};

template <ProgramPhase phase, class T>
void launch(const Queue& queue, Index rows, const typename Body<phase, T>::Arrays& a, const void* program) {
    const Interpreted& of = *static_cast<const Interpreted*>(program);
    if (const Compiled compiled = of.compiled[sizeof(T) == 8][static_cast<int>(phase)])
        put(queue, [=] { compiled(rows, a.hidden, &a); });
    else
        each(queue, rows, a.hidden, Body<phase, T>{of, a});
}

constexpr int kMostSaved = 64;  // as program_check.cpp has it

// A program's forward inside a resident kernel.
struct InterpretedMaths {
    static constexpr int inputs = kMaxGates, hiddens = kMostGates, states = kMaxStates, saved = kMostSaved;
    static constexpr int vectors = kMaxStates;
    static const CellTable& table(const ResidentCall& call) {
        return static_cast<const Interpreted*>(call.program)->program.table();
    }
    static int input_count(const ResidentCall& call) { return table(call).input.count; }
    static int hidden_count(const ResidentCall& call) { return table(call).hidden.count; }
    static int gated_count(const ResidentCall& call) { return table(call).gated.count; }
    static int first_fed(const ResidentCall& call) { return hidden_count(call) + gated_count(call); }
    static int fed_count(const ResidentCall& call) { return table(call).feedback.count; }
    static void feed(const ResidentCall& call, const ResidentProgramFedAt& at) {
        cuda::run(at, *static_cast<const Interpreted*>(call.program), ProgramPhase::feedback);
    }
    static int state_count(const ResidentCall& call) { return table(call).states; }
    static void run(const ResidentCall& call, const ResidentProgramAt& at) {
        cuda::run(at, *static_cast<const Interpreted*>(call.program), ProgramPhase::forward);
    }
    static void gates(const ResidentCall& call, const ResidentProgramGatesAt& at) {
        cuda::run(at, *static_cast<const Interpreted*>(call.program), ProgramPhase::forward);
    }
    static void state(const ResidentCall& call, const ResidentProgramStateAt& at) {
        cuda::run(at, *static_cast<const Interpreted*>(call.program), ProgramPhase::forward_state);
    }
};

void launch_resident(const Queue& queue, const Resident& shape, const ResidentCall& given, const void* program) {
    ResidentCall call = given;
    call.program = program;
    if (InterpretedMaths::table(call).form == Form::two_products)
        put_emulated<TwoProductsProgramMaths<InterpretedMaths>>(queue, shape, call);
    else
        put_emulated<ResidentProgramMaths<InterpretedMaths>>(queue, shape, call);
}

// Likewise a backward.
struct InterpretedBackward {
    static constexpr int hiddens = kMostGates, gateds = kMostGates, states = kMaxStates, saved = kMostSaved;
    static constexpr int columns = kMostColumns, vectors = kMaxStates, feds = kMostGates;
    static const OwnProgram& program(const ResidentBackwardCall& call) {
        return static_cast<const Interpreted*>(call.program)->program;
    }
    static int hidden_count(const ResidentBackwardCall& call) { return program(call).table().hidden.count; }
    static int state_count(const ResidentBackwardCall& call) { return program(call).table().states; }
    static int saved_count(const ResidentBackwardCall& call) { return program(call).table().saved; }
    static int first_hidden(const ResidentBackwardCall& call) { return program(call).layout.hidden; }
    static int gated_count(const ResidentBackwardCall& call) { return program(call).table().gated.count; }
    static int first_gated(const ResidentBackwardCall& call) { return program(call).layout.gated; }
    static int column_count(const ResidentBackwardCall& call) { return program(call).layout.columns.count; }
    static int fed_count(const ResidentBackwardCall& call) { return program(call).table().feedback.count; }
    static int first_fed(const ResidentBackwardCall& call) { return program(call).layout.feedback; }
    static void feed(const ResidentBackwardCall& call, const ResidentProgramFedBackwardAt& at) {
        cuda::run(at, *static_cast<const Interpreted*>(call.program), ProgramPhase::feedback_backward);
    }
    static void run(const ResidentBackwardCall& call, const ResidentProgramBackwardAt& at) {
        cuda::run(at, *static_cast<const Interpreted*>(call.program), ProgramPhase::backward);
    }
    static void state(const ResidentBackwardCall& call, const ResidentProgramStateBackwardAt& at) {
        cuda::run(at, *static_cast<const Interpreted*>(call.program), ProgramPhase::backward);
    }
    static void gates(const ResidentBackwardCall& call, const ResidentProgramGatesBackwardAt& at) {
        cuda::run(at, *static_cast<const Interpreted*>(call.program), ProgramPhase::backward_gates);
    }
};

void launch_resident_backward(const Queue& queue, const ResidentBackward& shape, const ResidentBackwardCall& given,
                              const void* program) {
    ResidentBackwardCall call = given;
    call.program = program;
    if (InterpretedBackward::program(call).table().form == Form::two_products)
        put_backward_emulated<TwoProductsProgramBackward<InterpretedBackward>>(queue, shape, call);
    else
        put_backward_emulated<ResidentProgramBackward<InterpretedBackward>>(queue, shape, call);
}
void launch_grid(const Queue& queue, const Grid& shape, const GridCall& given, const void* program) {
    GridCall call = given;
    call.call.program = program;
    if (InterpretedMaths::table(call.call).form == Form::two_products)
        put_grid_emulated<TwoProductsProgramMaths<InterpretedMaths>>(queue, shape, call);
    else
        put_grid_emulated<ResidentProgramMaths<InterpretedMaths>>(queue, shape, call);
}
void launch_grid_backward(const Queue& queue, const Grid& shape, const GridBackwardCall& given, const void* program) {
    GridBackwardCall call = given;
    call.call.program = program;
    if (InterpretedBackward::program(call.call).table().form == Form::two_products)
        put_grid_emulated<TwoProductsProgramBackward<InterpretedBackward>>(queue, shape, call);
    else
        put_grid_emulated<ResidentProgramBackward<InterpretedBackward>>(queue, shape, call);
}

// Of each program one, for ever.
Interpreted& interpreted(const OwnProgram& program) {
    static auto* all = new std::map<const OwnProgram*, std::unique_ptr<Interpreted>>;
    std::unique_ptr<Interpreted>& found = (*all)[&program];
    if (!found) found = std::make_unique<Interpreted>(program);
    return *found;
}

}  // namespace

template <class T>
CellLaunches<T> launches_of(const OwnProgram& program) {
    using enum ProgramPhase;
    CellLaunches<T> launches{};
    launches.forward = launch<forward, T>;
    launches.backward = launch<backward, T>;
    if (program.table().form == Form::two_products) {
        launches.forward_state = launch<forward_state, T>;
        launches.backward_gates = launch<backward_gates, T>;
    }
    if (program.table().vectors > 0) {
        launches.feedback = launch<feedback, T>;
        launches.feedback_backward = launch<feedback_backward, T>;
    }
    launches.resident = launch_resident;
    launches.resident_backward = launch_resident_backward;
    launches.grid = launch_grid;
    launches.grid_backward = launch_grid_backward;
    launches.program = &interpreted(program);
    return launches;
}
template CellLaunches<float> launches_of(const OwnProgram&);
template CellLaunches<double> launches_of(const OwnProgram&);

void make_ready(const OwnProgram&, Dtype, bool) {}
void make_resident_ready(int, const OwnProgram*, const Resident&, Dtype, bool) {}
void make_resident_backward_ready(int, const OwnProgram*, const ResidentBackward&, Dtype, bool) {}
void make_grid_ready(int, const OwnProgram*, const Grid&, Dtype) {}
void make_grid_backward_ready(int, const OwnProgram*, const Grid&, Dtype) {}

}  // namespace rnnkernels::cuda

// How many resident kernels have run.
extern "C" __attribute__((visibility("default"))) int emulated_resident_forwards() {
    return rnnkernels::cuda::resident_forwards;
}
extern "C" __attribute__((visibility("default"))) int emulated_resident_backwards() {
    return rnnkernels::cuda::resident_backwards;
}
extern "C" __attribute__((visibility("default"))) int emulated_grid_backwards() {
    return rnnkernels::cuda::grid_backwards;
}

// A phase of a program, compiled for the host: run in its place from now on; null: no longer. Whether there is such a
// program.
extern "C" __attribute__((visibility("default"))) bool emulated_compiled(const char* name, int wide, int phase,
                                                                         rnnkernels::cuda::Compiled compiled) {
    using namespace rnnkernels::cuda;
    for (int number = 0; number < program_count(); ++number) {
        const OwnProgram& program = program_of(number);
        if (std::strcmp(program.table().info.name, name) != 0) continue;
        interpreted(program).compiled[wide != 0][phase] = compiled;
        return true;
    }
    return false;
}
