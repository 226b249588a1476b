// What a cell's gate table means for memory: sizes that every part of the CPU engine agrees on.
//
// Units come in blocks of one vector. Per row (one step of one sequence):
//   x part    [block][input gate][lane], the last block closer (UnitColumns, panels.h)
//   reserve   [block][saved, then the states after h, then what was normalised, where states are zoned then what the
//   cell itself
//             made of all states][lane]
//   carried   [block][state][lane]
//   gradient  [slot][unit, padded to whole blocks]: a slot is contiguous, as the products read it
#pragma once

#include "../passes/strip.h"
#include "../recurrence/rows.h"
#include "../recurrence/sizes.h"
#include "claims.h"
#include "gate_product.h"

namespace rnnkernels::RNNKERNELS_TARGET {

using cpu::Claims;
using cpu::make_plan;
using cpu::Member;
using cpu::Phases;
using cpu::Plan;
using cpu::plan_wavefront;
using cpu::PlanInput;
using cpu::Range;
using cpu::split_range;
using cpu::take_claims;
using cpu::Wait;

constexpr int greatest_divisor(int a, int b) { return b == 0 ? a : greatest_divisor(b, a % b); }

constexpr int common_multiple(int a, int b) { return a / greatest_divisor(a, b) * b; }

// Blocks of units after which a product with `gates` gates per block ends on the edge of so many panels.
constexpr int blocks_per_edge(int gates, int panels) {
    if (gates == 0) return 1;
    return common_multiple(gates, panels * panel_vectors(gates)) / gates;
}

enum class Pass { forward, backward };

// An item: the blocks of units that a thread works on at a time. Here the least it takes: it ends on the edge of the
// panels that run side by side in every product of the pass, with as many rows.
constexpr int least_item(const CellTable& table, Pass pass, Index rows) {
    const auto edge = [rows](int gates) {
        return blocks_per_edge(gates, panels_side_by_side(rows <= kFewRows ? 1 : kMostRows, panel_vectors(gates)));
    };
    if (pass == Pass::backward) return edge(1);
    return common_multiple(common_multiple(edge(table.input.count), edge(table.hidden.count)),
                           common_multiple(edge(table.feedback.count), edge(table.gated.count)));
}

// A cell as an engine of this set and dtype runs it. Whoever makes it keeps it: prepared layers point at it.
template <class T>
struct EngineCell {
    const CellTable& table;
    const CellPasses<T>& passes;
    int few[2], many[2];  // the least item of few and of many rows, of each Pass

    EngineCell(const CellTable& cell, const CellPasses<T>& of_cell) : table(cell), passes(of_cell) {
        for (int pass = 0; pass < 2; ++pass) {
            few[pass] = least_item(table, static_cast<Pass>(pass), 1);
            many[pass] = least_item(table, static_cast<Pass>(pass), kStripRows);
        }
    }

    // Between few and many rows an item is as wide as keeps the cell busy: its chain of operations is long.
    RNNKERNELS_INLINE Index item_blocks(Pass pass, Index rows) const {
        const int number = static_cast<int>(pass);
        if (rows <= kFewRows) return few[number];
        return rows >= kStripRows ? many[number] : many[number] * (kStripRows / rows);
    }
    // The most rows times blocks that a strip has.
    Index strip_blocks(Pass pass) const {
        const int number = static_cast<int>(pass);
        const Index of_many = kMostStripRows * many[number], of_few = kFewRows * few[number];
        return of_many > of_few ? of_many : of_few;
    }
};

// `count` rows, `step` apart.
struct RowSet {
    Index first;
    Index count;
    Index step = 1;

    RNNKERNELS_INLINE Index at(Index i) const { return first + i * step; }
    // Those below row `row`.
    RNNKERNELS_INLINE RowSet below(Index row) const {
        return count == 0 || at(count - 1) < row ? *this : RowSet{first, before(row), step};
    }
    // Those behind `some`, with which the set begins.
    RNNKERNELS_INLINE RowSet from(const RowSet& some) const { return {at(some.count), count - some.count, step}; }
    template <class Use>
    RNNKERNELS_INLINE void each(Use use) const {
        for (Index i = 0; i < count; ++i) use(at(i));
    }
    // Part `index` of `parts`, as even as can be.
    RowSet part(int parts, int index) const {
        const Range mine = split_range(count, 1, parts, index);
        return {at(mine.first), mine.last - mine.first, step};
    }

private:
    // How many stand before a row that is not beyond the last.
    Index before(Index row) const { return row <= first ? 0 : (row - first + step - 1) / step; }
};

// The rows of a strip at most.
inline Index strip_rows(const Kept& kept) {
    return kept.low == 0 || cpu::low_kernels(kept.low).rows < kMostStripRows ? kStripRows : kMostStripRows;
}

// Fills a strip of `most` rows with as many whole tiles of rows as fit, run(row, rows, place in the strip), then hands
// it on, use(rows of the strip); again until all rows are done. Of `left` rows the next tile takes next(left).
template <class Next, class Run, class Use>
RNNKERNELS_INLINE void each_strip(RowSet rows, Index most, Watch* watch, Next next, Run run, Use use) {
    for (Index first = 0, last = 0; first < rows.count; first = last) {
        while (last < rows.count) {
            const int tile_rows = next(rows.count - last);
            if (last + tile_rows - first > most) break;
            run(rows.at(last), tile_rows, last - first);
            last += tile_rows;
        }
        use(RowSet{rows.at(first), last - first, rows.step});
        if (last < rows.count) cpu::look(watch);
    }
}

// What a piece has of every step: rows of the batch, blocks of units. A row has one part in all of its steps. Of a
// ragged batch, longest sequence first, a row group takes every so manyth row, so that groups have as much to do in
// every step.
struct Part {
    RowSet rows;
    Range blocks;
    Range h_blocks;  // of h, where it is projected
    int number;      // among the parts of its row group
    int parts;       // of the row group
    int row_group;

    // The part's rows of step t; of step -1 all of its sequences, behind the last step none.
    RNNKERNELS_INLINE RowSet rows_of_step(const Rows& all, Index t) const {
        if (all.ragged()) return rows.below(all.count(t));
        return t < all.steps ? rows : RowSet{rows.first, 0, rows.step};
    }
    // Of rows that the row group shares, those of this part.
    RNNKERNELS_INLINE RowSet share_of(const RowSet& of_group) const { return of_group.part(parts, number); }
};

template <class T>
Part make_part(const EngineCell<T>& cell, Pass pass, const Plan& plan, const Rows& rows, Index blocks, Index h_blocks,
               int piece) {
    // Divisions are dear in a call of one step.
    if (plan.threads == 1) return {RowSet{0, rows.batch}, Range{0, blocks}, Range{0, h_blocks}, 0, 1, 0};
    const int parts = plan.unit_groups * plan.pieces, row_group = piece / parts, number = piece % parts;
    const Range dense = split_range(rows.batch, 1, plan.row_groups, row_group);
    return {rows.ragged()
                ? RowSet{row_group, (rows.batch - row_group + plan.row_groups - 1) / plan.row_groups, plan.row_groups}
                : RowSet{dense.first, dense.last - dense.first},
            split_range(blocks, cell.item_blocks(pass, kStripRows), parts, number),
            split_range(h_blocks, blocks_per_edge(1, 1), parts, number),
            number,
            parts,
            row_group};
}

// Pieces of each thread in what everybody has a share in.
inline constexpr int kShares = 4;

// What the threads of a call claim.
struct CallClaims {
    Claims steps, shares;

    void take(Workspace& workspace, const Plan& plan) {
        steps = take_claims(workspace, plan.row_groups * plan.unit_groups, plan.pieces, plan.threads);
        shares = take_claims(workspace, plan.threads, plan.threads > 1 ? kShares : 1, plan.threads);
    }
};

// Columns of weight_ih: those of x, and of the context behind them.
RNNKERNELS_INLINE Index input_row(const Inputs& in) {
    return in.shape.input + (in.attention ? in.attention->features : 0);
}

// The last columns of x, whose chain goes on into the context and is not the first of its sum.
RNNKERNELS_INLINE Index input_apart(const Inputs& in) {
    return in.attention && in.shape.input > kChain ? in.shape.input % kChain : 0;
}

// How a recurrent weight is multiplied: one with heads as floats.
RNNKERNELS_INLINE Kept recurrent_kept(const CellTable& table, const Kept& kept) {
    return table.heads > 1 ? Kept{} : kept;
}

// Multiply-adds of a row and step of attention; a tanh takes as long as some 16 of them.
RNNKERNELS_INLINE Index beside_of(const Attention& a, const CellTable& table, const Shape& shape) {
    return a.places * (a.features + a.size * (a.score ? 16 : 1)) +
           (a.size + a.features * table.input.count) * shape.hidden;
}

template <class T>
PlanInput plan_input(const EngineCell<T>& cell, Pass pass, const Inputs& in, int threads, const Kept& kept = {}) {
    const Shape& shape = in.shape;
    const CellTable& table = cell.table;
    // Matrices (H, H) that a step multiplies; one where there is none, for the element-wise work.
    const int square = table.hidden.count + table.gated.count + table.feedback.count * table.vectors;
    const int matrices = square + (table.form == Form::projected ? 1 : 0);
    const Index of_input = in.x ? table.input.count * shape.hidden * shape.input : 0;
    const Index of_hidden = matrices * shape.hidden * recurrent_row(table, shape);
    // A ragged forward is cut by the rows that its steps have. Not its backward: units divide worse there, where a
    // product has one column for each, than rows do.
    Index rows = shape.batch;
    if (in.starts && shape.steps > 0 && pass == Pass::forward)
        rows = (in.starts[shape.steps] + shape.steps - 1) / shape.steps;
    return {shape,
            rows > 0 ? rows : 1,
            threads,
            matrices > 0 ? matrices : 1,
            table.slots,
            pass == Pass::forward ? of_input : 2 * of_input + of_hidden,
            cell.item_blocks(pass, kStripRows) * Vec<T>::lanes,
            static_cast<Index>(sizeof(T)),
            kept.bytes(sizeof(T)),
            kept.low == 0 ? 0 : least<Index>(cpu::low_kernels(kept.low).rows, kMostStripRows),
            kept.low == 0 ? 1 : cpu::low_kernels(kept.low).rate,
            in.attention ? beside_of(*in.attention, table, shape) : 0,
            in.attention && in.attention->rows_shared,
            table.heads};
}

template <class T>
Plan plan_of(const EngineCell<T>& cell, Pass pass, const Inputs& in, int threads, const Kept& kept = {}) {
    return make_plan(plan_input(cell, pass, in, threads, kept));
}

// Values per row of a reserve behind its blocks: what was fed back, what was projected, or scales. No cell has two of
// them.
RNNKERNELS_INLINE Index behind_blocks(const CellTable& table, const Shape& shape) {
    return (table.vectors + (table.form == Form::projected ? 1 : 0)) * shape.hidden + table.norms;
}

// Where a reserve of so many rows keeps that: (rows, vectors*H), (rows, H), or 1 / sqrt(variance) of each row that was
// normalised, (rows, norms).
template <class T>
T* behind_blocks_of(const CellTable& table, T* reserve, const Shape& shape, bool zones, Index rows) {
    return reserve + rows * blocks_of<T>(shape.hidden) * reserve_vectors(table, zones) * Vec<T>::lanes;
}

// What stands behind all that.
template <class T>
T* behind_reserve(const CellTable& table, T* reserve, const Shape& shape, bool zones, Index rows) {
    return behind_blocks_of(table, reserve, shape, zones, rows) + rows * behind_blocks(table, shape);
}

// A call's settings, in T; whether it has any.
template <class T>
bool copy_settings(const Inputs& in, const CellTable& table, T* settings) {
    bool held = false;
    for (int k = 0; k < table.settings; ++k) {
        settings[k] = static_cast<T>(in.settings[k]);
        held = held || in.settings[k] < __builtin_inf();
    }
    return held;
}

// `count` zeros.
template <class T>
T* take_zeros(Workspace& workspace, Index count) {
    T* zeros = workspace.take<T>(count);
    std::memset(zeros, 0, static_cast<std::size_t>(count) * sizeof(T));
    return zeros;
}

// Rows of `count` units each, as the caller has them, with room for whole blocks.
template <class T>
T* padded_rows(Workspace& workspace, const T* from, Index rows, Index count) {
    const Index padded = blocks_of<T>(count) * Vec<T>::lanes;
    T* to = take_zeros<T>(workspace, rows * padded);
    for (Index row = 0; row < rows; ++row)
        std::memcpy(to + row * padded, from + row * count, static_cast<std::size_t>(count) * sizeof(T));
    return to;
}

// The tokens row after row: the caller's own where they stand so.
inline const std::int64_t* tokens_in_order(Workspace& workspace, const std::int64_t* tokens, const Rows& rows) {
    if (!tokens || !rows.of_rows) return tokens;
    auto* in_order = workspace.take<std::int64_t>(rows.total());
    for (Index row = 0; row < rows.total(); ++row) in_order[row] = tokens[rows.place(row)];
    return in_order;
}

// The states before the first step: the caller's, zeros where none were given. h alone may be read as a whole
// (B, H) array by the products.
template <class T>
const T* state_or_zeros(Workspace& workspace, const void* state, Index batch, Index width) {
    if (state) return static_cast<const T*>(state);
    return take_zeros<T>(workspace, batch * width);
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
