// Passes that run programs: which array of a strip an operand is, in which phase; and how a program is made ready.
#include "program_pass.h"

#include "chunk.h"

namespace rnnkernels::RNNKERNELS_TARGET {
namespace {

using enum OperandKind;

// A forward without the instructions whose results only a backward reads.
template <class T>
Program without_kept(const Program& program, Instruction* needed) {
    bool read[2][kMostPlaces] = {};  // behind the instruction: registers, and what is kept
    Instruction* first = needed + program.count;
    for (int i = program.count - 1; i >= 0; --i) {
        const Instruction& instruction = program.instructions[i];
        const auto of = [&](const Operand& operand) -> bool* {
            if (operand.kind != register_ && operand.kind != saved) return nullptr;
            return &read[operand.kind == saved][operand.index];
        };
        if (bool* const out = of(instruction.out)) {
            if (!*out) continue;
            *out = false;
        }
        *--first = instruction;
        for (int k = 0; k < kOperations<T>[instruction.operation].operands; ++k)
            if (bool* const in = of(instruction.in[k])) *in = true;
    }
    return {program.registers, static_cast<int>(needed + program.count - first), first};
}

template <class T>
void resolve(const Program& program, Phase<T>& phase) {
    static_assert(kMostPlaces <= 256, "a step counts lines in bytes");
    int line[kOperandKindCount][kMostPlaces] = {};
    const auto of = [&](const Operand& operand) -> int& { return line[static_cast<int>(operand.kind)][operand.index]; };
    for (int r = 0; r < program.registers; ++r) of({register_, r}) = 1;
    for (int i = 0; i < program.count; ++i) {
        const Instruction& instruction = program.instructions[i];
        of(instruction.out) = 1;
        for (int k = 0; k < kOperations<T>[instruction.operation].operands; ++k) of(instruction.in[k]) = 1;
    }
    int lines = 0;
    for (int kind = 0; kind < kOperandKindCount; ++kind) {
        phase.first[kind] = lines;
        for (int index = 0; index < kMostPlaces; ++index)
            if (line[kind][index]) phase.index[lines] = index, line[kind][index] = lines++;
    }
    phase.first[kOperandKindCount] = lines;
    // As if all lines were in scratch.
    const Index room = kScratchBytes / static_cast<Index>(sizeof(T)) / Vec<T>::lanes / (lines > 0 ? lines : 1);
    phase.most_vectors = room < kStripRows ? room : kStripRows;
    phase.step_count = program.count;
    phase.steps = new Step<T>[static_cast<std::size_t>(program.count)]();
    for (int i = 0; i < program.count; ++i) {
        const Instruction& instruction = program.instructions[i];
        const Operation<T>& operation = kOperations<T>[instruction.operation];
        Step<T>& step = phase.steps[i];
        step.run = operation.run;
        step.out = static_cast<unsigned char>(of(instruction.out));
        for (int k = 0; k < kMostOperands && k < operation.operands; ++k)
            step.in[k] = static_cast<unsigned char>(of(instruction.in[k]));
    }
}

template <class T>
const CellProgram<T>& program_of(const void* program) {
    return *static_cast<const CellProgram<T>*>(program);
}

template <class T>
void run_forward(const ForwardStrip<T>& p, const Phase<T>& phase) {
    using V = Vec<T>;
    constexpr Index lanes = V::lanes;
    const CellProgram<T>& cell = program_of<T>(p.program);
    Chunk<T> chunk(phase, cell);
    const RowPointers<T> x(p.x, p.rows), out(p.out, p.rows);
    const RowPointers<T> directs(p.direct, chunk.uses(direct) ? p.rows : 0);
    const RowPointers<T> elements(p.elements, chunk.uses(step) ? p.rows : 0);
    const int others = cell.states - 1;
    each_chunk(p, chunk, [&]() RNNKERNELS_INLINED {
        const Index in_strip = chunk.block - p.first, at = chunk.at;
        const auto x_of = [&](Index i, int k) RNNKERNELS_INLINED {
            return V::load(p.x[chunk.row_of(i)] + chunk.at_of(i) * cell.inputs + k * chunk.units);
        };
        if (p.term) {
            chunk.each(input, [&](Line<T>& to, int k) RNNKERNELS_INLINED {
                to = chunk.copied([&](Index i) RNNKERNELS_INLINED {
                    return x_of(i, k) +
                           V::load(p.term + chunk.row_of(i) * p.term_row + k * p.hidden + chunk.at_of(i), chunk.units);
                });
            });
        } else if (!chunk.uses(input)) {
            // the cell sees x itself, if that
        } else if (chunk.is_line(x)) {
            const Line<T> first = chunk.line(x, at * cell.inputs, cell.inputs * lanes);
            chunk.each(input,
                       [&](Line<T>& to, int k) RNNKERNELS_INLINED { to = {first.at + k * chunk.units, first.step}; });
        } else {
            chunk.each(input, [&](Line<T>& to, int k) RNNKERNELS_INLINED {
                to = chunk.copied([&](Index i) RNNKERNELS_INLINED { return x_of(i, k); });
            });
        }
        chunk.each(direct, [&](Line<T>& to, int) RNNKERNELS_INLINED { to = chunk.read(directs); });
        chunk.put_elements(elements, p.hidden);
        const auto of_product = [&](OperandKind kind, const T* from, Index from_row, int gates) RNNKERNELS_INLINED {
            if (!chunk.uses(kind)) return;
            const Line<T> first = chunk.line(from + in_strip * gates * lanes, from_row, gates * lanes);
            chunk.each(kind,
                       [&](Line<T>& to, int k) RNNKERNELS_INLINED { to = {first.at + k * chunk.units, first.step}; });
        };
        of_product(hidden, p.u, p.u_row, cell.hiddens);
        of_product(fed, p.fed, p.fed_row, cell.feds);
        of_product(gated, p.u, p.u_row, cell.gateds);
        chunk.put_weights(p.diagonal, p.diagonal_row);
        const auto other = [&](int k) RNNKERNELS_INLINED {
            return chunk.line(p.others + at * others + (k - 1) * lanes, p.others_row, others * lanes);
        };
        chunk.each(state, [&](Line<T>& to, int k) RNNKERNELS_INLINED {
            if (k > 0)
                to = other(k);
            else if (!chunk.partial())
                to = chunk.line(p.h + at, p.h_row, lanes);
            else
                to = chunk.copied([&](Index i) RNNKERNELS_INLINED {
                    return V::load(p.h + chunk.row_of(i) * p.h_row + at, chunk.units);
                });
        });
        const Index kept = chunk.block * p.reserve_block;
        chunk.each(saved, [&](Line<T>& to, int k) RNNKERNELS_INLINED {
            to = p.saved ? chunk.line(p.saved + kept + k * lanes, p.reserve_row, p.reserve_block) : chunk.take();
        });
        chunk.each(made, [&](Line<T>& to, int) RNNKERNELS_INLINED { to = chunk.line(p.made + at, p.made_row, lanes); });
        const bool direct_out = !chunk.partial() && chunk.is_line(out);
        chunk.each(new_, [&](Line<T>& to, int k) RNNKERNELS_INLINED {
            to = k > 0 ? other(k) : direct_out ? chunk.line(out, at, lanes) : chunk.take();
        });

        chunk.run();

        chunk.each(new_, [&](const Line<T>& from, int k) RNNKERNELS_INLINED {
            if (k > 0) {
                if (!p.states) return;
                const Line<T> to = chunk.line(p.states + kept + (k - 1) * lanes, p.reserve_row, p.reserve_block);
                chunk.each_vector(from, [&](V value, Index i) RNNKERNELS_INLINED { value.store(to.at + i * to.step); });
                return;
            }
            if (!direct_out)
                chunk.each_vector(from, [&](V value, Index i) RNNKERNELS_INLINED {
                    value.store(p.out[chunk.row_of(i)] + chunk.at_of(i), chunk.units);
                });
            if (p.copy)
                chunk.each_vector(from, [&](V value, Index i) RNNKERNELS_INLINED {
                    value.store(p.copy + chunk.row_of(i) * p.copy_row + chunk.at_of(i), chunk.units);
                });
        });
    });
}

template <class T>
void feedback_pass(const FeedbackStrip<T>& p) {
    using V = Vec<T>;
    constexpr Index lanes = V::lanes;
    const CellProgram<T>& cell = program_of<T>(p.program);
    Chunk<T> chunk(cell.phases[static_cast<int>(ProgramPhase::feedback)], cell);
    const RowPointers<T> h(p.h, p.rows), elements(p.elements, chunk.uses(step) ? p.rows : 0);
    const int others = cell.states - 1;
    each_chunk(p, chunk, [&]() RNNKERNELS_INLINED {
        const Index at = chunk.at;
        for (const OperandKind kind : {state, new_})
            chunk.each(kind, [&](Line<T>& to, int k) RNNKERNELS_INLINED {
                to = k == 0 ? chunk.read(h)
                            : chunk.line(p.others + at * others + (k - 1) * lanes, p.others_row, others * lanes);
            });
        chunk.put_elements(elements, p.hidden);
        chunk.each(vector, [&](Line<T>& to, int k) RNNKERNELS_INLINED {
            to = chunk.partial() ? chunk.take() : chunk.line(p.vectors + k * p.hidden + at, p.vectors_row, lanes);
        });
        chunk.run();
        if (!chunk.partial()) return;
        chunk.each(vector, [&](const Line<T>& from, int k) RNNKERNELS_INLINED {
            chunk.each_vector(from, [&](V value, Index i) RNNKERNELS_INLINED {
                value.store(p.vectors + chunk.row_of(i) * p.vectors_row + k * p.hidden + at, chunk.units);
            });
        });
    });
}

// `sums`: what comes to h from several sides is added first.
template <class T>
void run_backward(const BackwardStrip<T>& p, const Phase<T>& phase, bool sums) {
    using V = Vec<T>;
    constexpr Index lanes = V::lanes;
    const CellProgram<T>& cell = program_of<T>(p.program);
    Chunk<T> chunk(phase, cell);
    const RowPointers<T> h(p.h, chunk.uses(state) ? p.rows : 0), out(p.out, chunk.uses(new_) ? p.rows : 0);
    const bool behind = &phase == &cell.phases[static_cast<int>(ProgramPhase::feedback_backward)];
    const RowPointers<T> elements(behind ? p.elements_behind : p.elements, chunk.uses(step) ? p.rows : 0);
    T* const* const d_elements = behind ? p.d_elements_behind : p.d_elements;
    each_chunk(p, chunk, [&]() RNNKERNELS_INLINED {
        const Index at = chunk.at, block = chunk.block;
        Line<T> product{};
        if (p.product) product = chunk.line(p.product + (block - p.first) * lanes, p.product_row, lanes);
        const Line<T> carried = chunk.line(p.carried + at * cell.states, p.carried_row, cell.states * lanes);
        chunk.each(saved, [&](Line<T>& to, int k) RNNKERNELS_INLINED {
            to = chunk.line(p.saved + block * p.reserve_block + k * lanes, p.reserve_row, p.reserve_block);
        });
        chunk.put_weights(p.diagonal, p.diagonal_row);
        chunk.each(state, [&](Line<T>& to, int k) RNNKERNELS_INLINED {
            to =
                k == 0 ? chunk.read(h) : chunk.line(p.before[k] + block * p.before_block, p.before_row, p.before_block);
        });
        chunk.each(new_, [&](Line<T>& to, int k) RNNKERNELS_INLINED {
            if (k > 0)
                to = chunk.line(p.after[k] + block * p.after_block, p.after_row, p.after_block);
            else if (!chunk.partial() && chunk.is_line(out))
                to = chunk.line(out, block * p.out_block, p.out_block);
            else
                to = chunk.copied([&](Index i) RNNKERNELS_INLINED {
                    const Index block_of = chunk.down ? block : block + i;
                    return V::load(p.out[chunk.row_of(i)] + block_of * p.out_block, chunk.units);
                });
        });
        const auto come = [&](Line<T>& to, int k) RNNKERNELS_INLINED { to = {carried.at + k * lanes, carried.step}; };
        chunk.each(d_new, [&](Line<T>& to, int k) RNNKERNELS_INLINED {
            come(to, k);
            if (!sums || k > 0 || !(p.product || p.d_out)) return;
            const Line<T> from = to;
            to = chunk.copied([&](Index i) RNNKERNELS_INLINED {
                V d = V::load(from.at + i * from.step);
                if (product.at) d = V::load(product.at + i * product.step) + d;
                if (p.d_out) d = V::load(p.d_out[chunk.row_of(i)] + chunk.at_of(i), chunk.units) + d;
                return d;
            });
        });
        chunk.each(d_state, come);
        chunk.each(slot, [&](Line<T>& to, int k)
                             RNNKERNELS_INLINED { to = chunk.line(p.d + k * p.d_slot + at, p.d_row, lanes); });
        chunk.each(made, [&](Line<T>& to, int) RNNKERNELS_INLINED { to = chunk.line(p.made + at, p.made_row, lanes); });
        chunk.each(d_made, [&](Line<T>& to, int) RNNKERNELS_INLINED { to = product; });
        chunk.each(d_vector, [&](Line<T>& to, int k)
                                 RNNKERNELS_INLINED { to = {product.at + (1 + k) * p.product_vector, product.step}; });
        chunk.put_elements(elements, p.hidden);
        chunk.each(d_step, [&](Line<T>& to, int) RNNKERNELS_INLINED { to = chunk.take(); });
        chunk.run();
        if (!d_elements) return;
        chunk.each(d_step, [&](const Line<T>& from, int k) RNNKERNELS_INLINED {
            chunk.each_vector(from, [&](V value, Index i) RNNKERNELS_INLINED {
                T* const to = d_elements[chunk.row_of(i)] + k * p.hidden + chunk.at_of(i);
                (behind ? V::load(to, chunk.units) + value : value).store(to, chunk.units);
            });
        });
    });
}

template <class T>
void forward_pass(const ForwardStrip<T>& p) {
    const CellProgram<T>& cell = program_of<T>(p.program);
    run_forward(p, p.saved ? cell.phases[static_cast<int>(ProgramPhase::forward)] : cell.forward_unkept);
}
template <class T>
void forward_state_pass(const ForwardStrip<T>& p) {
    run_forward(p, program_of<T>(p.program).phases[static_cast<int>(ProgramPhase::forward_state)]);
}
template <class T, ProgramPhase phase>
void backward_pass(const BackwardStrip<T>& p) {
    run_backward(p, program_of<T>(p.program).phases[static_cast<int>(phase)], phase == ProgramPhase::backward);
}

template <class T>
CellPasses<T> make_passes(const CellTable& table, const ProgramCell& cell) {
    constexpr int lanes = Vec<T>::lanes;
    auto* const program = new CellProgram<T>{table.input.count,
                                             table.hidden.count,
                                             table.feedback.count,
                                             table.gated.count,
                                             table.states,
                                             table.vectors,
                                             nullptr,
                                             {},
                                             {}};
    auto* const constants = new T[static_cast<std::size_t>(cell.constant_count * lanes)];
    for (int i = 0; i < cell.constant_count * lanes; ++i) constants[i] = static_cast<T>(cell.constants[i / lanes]);
    program->constants = constants;
    for (int phase = 0; phase < kProgramPhaseCount; ++phase) resolve(cell.programs[phase], program->phases[phase]);
    const Program& forward = cell.programs[static_cast<int>(ProgramPhase::forward)];
    auto* const needed = new Instruction[static_cast<std::size_t>(forward.count)];
    resolve(without_kept<T>(forward, needed), program->forward_unkept);
    delete[] needed;
    CellPasses<T> passes{};
    passes.program = program;
    passes.forward = forward_pass<T>;
    passes.backward = backward_pass<T, ProgramPhase::backward>;
    if (table.form == Form::two_products) {
        passes.forward_state = forward_state_pass<T>;
        passes.backward_gates = backward_pass<T, ProgramPhase::backward_gates>;
    }
    if (table.vectors > 0) {
        passes.feedback = feedback_pass<T>;
        passes.feedback_backward = backward_pass<T, ProgramPhase::feedback_backward>;
    }
    return passes;
}

}  // namespace

SetPasses make_program_passes(const CellTable& table, const ProgramCell& cell) {
    return {make_passes<float>(table, cell), make_passes<double>(table, cell)};
}

const char* program_operation(int number, int& operands) {
    if (number < 0 || number >= kOperationCount<float>) return nullptr;
    operands = kOperations<float>[number].operands;
    return kOperations<float>[number].name;
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
