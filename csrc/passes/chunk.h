// A chunk of a strip, for passes that run programs: up to 24 vectors that an instruction goes through in one loop. A
// chunk is a block of units over rows of the strip, or, where the strip has fewer rows than blocks, blocks of a row.
// Every operand is a line, vectors that stand equally far apart: where the strip has them, or in scratch memory, where
// the registers are. What no line can be is copied there first, or from there at the end: rows that lie anywhere, and
// what must not be touched beyond the layer's last unit, whose block is a chunk of its own. Not here: which array an
// operand is (program_pass.cpp).
#pragma once

#include "operations.h"
#include "strip.h"

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr Index kScratchBytes = 24 * 1024;  // of a chunk: what the L1 cache has beside a strip

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
        const int first = phase.first[static_cast<int>(OperandKind::constant)];
        for (int line = first; line < phase.first[static_cast<int>(OperandKind::constant) + 1]; ++line)
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
        return copied([&](Index i)
                          RNNKERNELS_INLINED { return V::load(rows.rows[row_of(i)] + offset + at_of(i), units); });
    }
    // store(value, i) for every vector of a line.
    template <class Store>
    RNNKERNELS_INLINE void each_vector(const Line<T>& from, Store store) const {
        for (Index i = 0; i < count; ++i) store(V::load(from.at + i * from.step), i);
    }

    RNNKERNELS_INLINE void begin() {
        free = scratch;
        each(OperandKind::register_, [&](Line<T>& to, int) RNNKERNELS_INLINED { to = take(); });
    }
    RNNKERNELS_INLINE void run() const {
        const Step<T>* const end = phase.steps + phase.step_count;
        for (const Step<T>* step = phase.steps; step < end; ++step) step->run(*step, lines, count);
    }
    // Element-wise inputs, whose rows hold one after the other, `apart` units each.
    RNNKERNELS_INLINE void put_elements(const RowPointers<T>& rows, Index apart) {
        each(OperandKind::step, [&](Line<T>& to, int k) RNNKERNELS_INLINED { to = read(rows, k * apart); });
    }
    RNNKERNELS_INLINE void put_weights(const T* weights, Index weight_row) {
        each(OperandKind::weight,
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

}  // namespace rnnkernels::RNNKERNELS_TARGET
