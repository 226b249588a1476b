// What the engines of both directions have: a call's sizes and rows, its stream, the chunk at work.
#pragma once

#include "../recurrence/order.h"
#include "arrays.h"
#include "layer.h"
#include "plan.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Cell, class T>
class Engine {
public:
    void wait_for_step() {}  // the stream's order says it

protected:
    // Lays the parameters' copies out, where there are any.
    Engine(const Inputs& in, Dtype storage, const Queue& queue, Index row_bytes, Arena& arena)
        : in_(in), shape_(in.shape), storage_(storage), rows_(in), queue_(queue) {
        chunk_ = chunk_rows({rows_.total(), shape_.batch, row_bytes});
        layer_.take(arena, in_, storage);
    }

    StepRows at_step(Index t) const {
        const Index first = rows_.first(t);
        return {first, rows_.count(t), rows_.count(t + 1), first - chunk_row_};
    }
    Index width() const { return width_of<Cell>(shape_); }  // of h
    Index widest() const { return width() > shape_.hidden ? width() : shape_.hidden; }

    // The recurrent weights of h, of what is fed back, and of the gated state.
    const void* weight_of_h() const { return weight_rows(Layout<Cell>::first_hidden_row, width()); }
    const void* weight_of_fed() const {
        return own_feedback_weight<Cell> ? in_.weight_gg : weight_rows(Layout<Cell>::first_feedback_row, shape_.hidden);
    }
    const void* weight_of_gated() const { return weight_rows(Layout<Cell>::first_gated_row, shape_.hidden); }

    void put(const Product& product) const { queue_.products->multiply(queue_, product); }

    Inputs in_;  // with the weights that are multiplied
    const Shape shape_;
    const Dtype storage_;
    const Rows rows_;
    const Queue& queue_;
    LayerArrays<Cell, T> layer_;
    Index chunk_ = 0;      // rows
    Index chunk_row_ = 0;  // the first of the chunk at work

private:
    const void* weight_rows(int row, Index columns) const {
        return offset(in_.weight_hh, storage_, row * shape_.hidden * columns);
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
