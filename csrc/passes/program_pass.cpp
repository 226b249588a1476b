// A program over a strip: chunk by chunk, each instruction is a loop over the chunk's vectors. A chunk is a block of
// units over rows of the strip, or, where the strip has fewer rows than blocks, blocks of a row. Every operand is a
// line, vectors that stand equally far apart: where the strip has them, or in scratch memory, where the registers are.
// What no line can be is copied there first, or from there at the end: rows that lie anywhere, and what must not be
// touched beyond the layer's last unit, whose block is a chunk of its own.
#include "program_pass.h"

#include "operations.h"

namespace rnnkernels::RNNKERNELS_TARGET {
namespace {

using enum OperandKind;

constexpr Index kScratchBytes = 24 * 1024;  // of a chunk: what the L1 cache has beside a strip

// A phase, ready to run. Its lines stand kind by kind, within a kind in the order of their indices.
template <class T>
struct Phase {
    int step_count = 0;
    Step<T>* steps = nullptr;
    Index most_vectors = 0;                 // of a chunk
    int first[kOperandKindCount + 1] = {};  // of each kind's lines
    int index[kMostPlaces] = {};            // of each line, within its kind
};

template <class T>
struct CellProgram {
    int inputs, hiddens, feds, gateds, states, vectors;
    const T* constants;  // [constant][lane]
    Phase<T> phases[kProgramPhaseCount];
    Phase<T> forward_unkept;  // of a call without a backward
};

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

// Rows that have a pointer each.
template <class T>
struct RowPointers {
    const T* const* rows;
    bool even = true;  // equally far apart
    Index step = 0;

    RowPointers(const T* const* pointers, Index count) : rows(pointers) {
        if (!rows || count < 2) return;
        step = rows[1] - rows[0];
        for (Index i = 2; i < count; ++i) even = even && rows[i] - rows[i - 1] == step;
    }
};

// A chunk and its lines.
template <class T>
struct Chunk {
    using V = Vec<T>;
    static constexpr Index lanes = V::lanes;

    const Phase<T>& phase;
    const CellProgram<T>& cell;
    Index row = 0, block = 0;  // its first
    Index count = 0;           // vectors
    bool down = true;          // they stand in rows, not in blocks
    Index at = 0;              // the first block's first unit
    Index units = lanes;       // of each vector: all lanes but in the layer's last block
    T* free = nullptr;
    Line<T> lines[kMostPlaces];
    alignas(64) T scratch[kScratchBytes / sizeof(T)];

    RNNKERNELS_INLINE Chunk(const Phase<T>& program, const CellProgram<T>& of_cell) : phase(program), cell(of_cell) {
        const int first = phase.first[static_cast<int>(constant)];
        for (int line = first; line < phase.first[static_cast<int>(constant) + 1]; ++line)
            lines[line] = {const_cast<T*>(cell.constants) + phase.index[line] * lanes, 0};
    }

    // put(line, index) for every line of a kind.
    template <class Put>
    RNNKERNELS_INLINE void each(OperandKind kind, Put put) {
        const int number = static_cast<int>(kind);
        for (int line = phase.first[number]; line < phase.first[number + 1]; ++line)
            put(lines[line], phase.index[line]);
    }
    RNNKERNELS_INLINE bool uses(OperandKind kind) const {
        return phase.first[static_cast<int>(kind) + 1] > phase.first[static_cast<int>(kind)];
    }
    RNNKERNELS_INLINE bool partial() const { return units < lanes; }
    RNNKERNELS_INLINE Index row_of(Index i) const { return down ? row + i : row; }
    RNNKERNELS_INLINE Index at_of(Index i) const { return down ? at : at + i * lanes; }

    // An array with strides of rows and blocks, which begins with the chunk's own first block.
    RNNKERNELS_INLINE Line<T> line(const T* first_block, Index row_step, Index block_step) const {
        return {const_cast<T*>(first_block) + row * row_step, down ? row_step : block_step};
    }
    RNNKERNELS_INLINE bool is_line(const RowPointers<T>& rows) const { return !down || rows.even; }
    RNNKERNELS_INLINE Line<T> line(const RowPointers<T>& rows, Index offset, Index block_step) const {
        return {const_cast<T*>(rows.rows[row]) + offset, down ? rows.step : block_step};
    }
    RNNKERNELS_INLINE Line<T> take() {
        T* const taken = free;
        free += count * lanes;
        return {taken, lanes};
    }
    // A line of scratch with value(i).
    template <class Value>
    RNNKERNELS_INLINE Line<T> copied(Value value) {
        const Line<T> to = take();
        for (Index i = 0; i < count; ++i) value(i).store(to.at + i * lanes);
        return to;
    }
    // Of the caller's rows, each of which has units side by side from `rows.rows[row]` on.
    RNNKERNELS_INLINE Line<T> read(const RowPointers<T>& rows, Index offset = 0) {
        if (!partial() && is_line(rows)) return line(rows, offset + at, lanes);
        return copied(
            [&](Index i) RNNKERNELS_INLINED { return V::load(rows.rows[row_of(i)] + offset + at_of(i), units); });
    }
    // store(value, i) for every vector of a line.
    template <class Store>
    RNNKERNELS_INLINE void each_vector(const Line<T>& from, Store store) const {
        for (Index i = 0; i < count; ++i) store(V::load(from.at + i * from.step), i);
    }

    RNNKERNELS_INLINE void begin() {
        free = scratch;
        each(register_, [&](Line<T>& to, int) RNNKERNELS_INLINED { to = take(); });
    }
    RNNKERNELS_INLINE void run() const {
        const Step<T>* const end = phase.steps + phase.step_count;
        for (const Step<T>* step = phase.steps; step < end; ++step) step->run(*step, lines, count);
    }
    // Element-wise inputs, whose rows hold one after the other, `apart` units each.
    RNNKERNELS_INLINE void put_elements(const RowPointers<T>& rows, Index apart) {
        each(step, [&](Line<T>& to, int k) RNNKERNELS_INLINED { to = read(rows, k * apart); });
    }
    RNNKERNELS_INLINE void put_weights(const T* weights, Index weight_row) {
        each(weight,
             [&](Line<T>& to, int k) RNNKERNELS_INLINED { to = line(weights + k * weight_row + at, 0, lanes); });
    }
};

// run() for every chunk of a strip: of its whole blocks, then of the layer's last one where that has fewer units.
template <class T, class Strip, class Run>
RNNKERNELS_INLINE void each_chunk(const Strip& p, Chunk<T>& chunk, const Run& run) {
    constexpr Index lanes = Vec<T>::lanes;
    const Index last = p.first + p.blocks, whole = p.hidden / lanes < last ? p.hidden / lanes : last;
    const Index most = chunk.phase.most_vectors;
    for (const bool partial : {false, true}) {
        const Index first = partial ? whole : p.first, blocks = (partial ? last : whole) - first;
        chunk.down = partial || p.rows >= blocks;
        chunk.units = partial ? p.hidden - whole * lanes : lanes;
        const Index chains = chunk.down ? blocks : p.rows, length = chunk.down ? p.rows : blocks;
        for (Index chain = 0; chain < chains; ++chain)
            for (Index done = 0; done < length; done += most) {
                chunk.row = chunk.down ? done : chain;
                chunk.block = first + (chunk.down ? chain : done);
                chunk.at = chunk.block * lanes;
                chunk.count = length - done < most ? length - done : most;
                chunk.begin();
                run();
            }
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
