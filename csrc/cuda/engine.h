// What the engines of both directions have: a call's cell, sizes and rows, its stream, the chunk at work.
#pragma once

#include "../recurrence/masks.h"
#include "../recurrence/order.h"
#include "cell_launches.h"
#include "ends.h"
#include "grid/geometry.h"
#include "layer.h"
#include "options.h"
#include "plan.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// The rows of a step.
struct StepRows {
    Index first;  // among the rows of all steps
    Index count;
    Index next;      // rows of the step after it
    Index in_chunk;  // its first row among those of the chunk
};

template <class T>
class Engine {
public:
    // All rows are one group; the stream's order says what waits for what.
    bool groups_apart() const { return false; }
    template <class Run>
    void each_row_group(bool, Run run) {
        run();
    }

protected:
    // Lays the parameters' copies out, where there are any.
    Engine(const Cell& cell, const Inputs& in, Dtype storage, const Queue& queue, Index row_bytes, Arena& arena)
        : table_(*cell.table),
          launches_(cell.launches<T>()),
          layout_(layout_of(table_)),
          in_(in),
          shape_(in.shape),
          storage_(storage),
          rows_(in),
          masks_(in.noise, rows_),
          queue_(queue) {
        chunk_ = chunk_rows({rows_.total(), shape_.batch, row_bytes});
        layer_.take(table_, arena, in_, storage);
    }

    // Whether the recurrence attends; columns of weight_ih, the context's behind x's.
    bool attending() const { return in_.attention != nullptr; }
    Index input_row() const { return shape_.input + (attending() ? in_.attention->features : 0); }

    StepRows at_step(Index t) const {
        const Index first = rows_.first(t);
        return {first, rows_.count(t), rows_.count(t + 1), first - chunk_row_};
    }
    bool projected() const { return table_.form == Form::projected; }
    bool two_products() const { return table_.form == Form::two_products; }
    bool inner() const { return table_.form == Form::normalised_inner; }
    bool normalised() const { return table_.norms > 0; }
    Index width() const { return width_of(table_, shape_); }  // of h
    Index widest() const { return width() > shape_.hidden ? width() : shape_.hidden; }
    // The first state that a cell's maths makes whole.
    int first_state() const { return projected() ? 1 : 0; }
    // What was normalised inside the cell, among all that was.
    Index inner_normal() const { return table_.input.count + table_.hidden.count; }

    // What every step's arrays have.
    void set_call(StepArrays<T>& a) const {
        a.hidden = shape_.hidden, a.width = width();
        a.storage = storage_;
        a.places = rows_.of_rows;
        a.diagonal = layer_.diagonal();
        a.x = in_.x, a.input = shape_.input, a.x_row = x_row(shape_);
        for (int k = 0; k < table_.settings; ++k) a.settings[k] = static_cast<T>(in_.settings[k]);
    }

    // Units of a head (recurrence/heads.h).
    Index head_size() const { return shape_.hidden / table_.heads; }
    // The rows before each step, where a kernel needs them itself: of a ragged batch.
    void take_starts(Arena& arena) {
        if (rows_.ragged()) starts_ = arena.take<Index>(rows_.steps + 1);
    }
    // What blocks of a grid kernel exchange.
    void take_exchange(const Grid& of, Arena& arena) {
        if (of.blocks == 0) return;  // refused before it runs (grid/coverage.h)
        grid_ = of;
        exchange_ = exchange_in(of, grid_tiles(of, shape_.batch),
                                arena.take<char>(exchange_bytes(of, grid_tiles(of, shape_.batch))));
    }
    // The same, as a launch finds it.
    GridExchange cleared_exchange() const {
        clear(queue_, exchange_.numbers, exchange_bytes(grid_, exchange_.tiles));
        return exchange_;
    }
    void put_starts() const {
        for (Index from = 0; starts_ && from <= rows_.steps; from += PutStarts::kMost) {
            PutStarts body{starts_ + from, {}};
            const Index left = rows_.steps + 1 - from, count = left < PutStarts::kMost ? left : PutStarts::kMost;
            for (Index i = 0; i < count; ++i) body.starts[i] = rows_.first(from + i);
            each(queue_, 1, count, body);
        }
    }

    // Columns of the weight that a product of the table's multiplies with, and that weight from a row on.
    Index columns_of(const ProductGates& product) const {
        if (table_.heads > 1) return head_size();
        if (&product == &table_.hidden) return width();
        return &product == &table_.feedback ? table_.vectors * shape_.hidden : shape_.hidden;
    }
    const void* weight_of(const ProductGates& product, int row) const {
        const bool own = &product == &table_.feedback && table_.own_feedback_weight;
        return offset(own ? in_.weight_gg : in_.weight_hh, storage_, row * shape_.hidden * columns_of(product));
    }

    void put(const Product& product) const { queue_.products->multiply(queue_, product); }
    // to = from times the masks of recurrent dropout, in rows of `vectors` vectors of so many units.
    void mask(Index first, Index rows, Index units, Index vectors, const void* from, Dtype from_dtype, void* to,
              Dtype to_dtype) const {
        each(queue_, rows, vectors * units,
             Mask<T>{from, from_dtype, to, to_dtype, first, vectors * units, units, masks_});
    }

    const CellTable& table_;
    const CellLaunches<T>& launches_;
    const Layout layout_;
    Inputs in_;  // with the weights that are multiplied
    const Shape shape_;
    const Dtype storage_;
    const Rows rows_;
    const Masks<T> masks_;
    const Queue& queue_;
    LayerArrays<T> layer_;
    Index chunk_ = 0;          // rows
    Index chunk_row_ = 0;      // the first of the chunk at work
    Index* starts_ = nullptr;  // (steps + 1), or null
    Grid grid_{};              // of a grid kernel
    GridExchange exchange_{};
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
