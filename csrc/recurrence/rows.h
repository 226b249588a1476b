// Which rows a step has. A dense batch has B rows in every step. A ragged one is packed: sequences stand longest
// first, so that those still running are the first rows of each step, and the rows of all steps follow each other:
//
//   step      0        1      2
//   sequence  0 1 2    0 1    0          starts 0 3 5 6
//   row       0 1 2    3 4    5
//
// Where a packed row stands in the caller's arrays, as a row of (T*B), the caller says (`places`): lengths, a batch
// in any order, reversed sequences and states that are reset are all of them such a list.
#pragma once

#include "../math/target.h"
#include "problem.h"

namespace rnnkernels::RNNKERNELS_TARGET {

struct Rows {
    Index steps;
    Index batch;           // rows of step 0
    const Index* starts;   // (steps + 1), or null: dense
    const Index* of_rows;  // places, or null: each its own

    explicit Rows(const Inputs& in)
        : steps(in.shape.steps), batch(in.shape.batch), starts(in.starts), of_rows(in.places) {}

    bool ragged() const { return starts != nullptr; }
    // The first row of step t; t = steps: the end.
    RNNKERNELS_INLINE Index first(Index t) const { return starts ? starts[t] : t * batch; }
    // Rows of step t; all sequences before the first, none after the last.
    RNNKERNELS_INLINE Index count(Index t) const {
        if (t < 0) return batch;
        if (t >= steps) return 0;
        return starts ? starts[t + 1] - starts[t] : batch;
    }
    Index total() const { return first(steps); }
    // Where a row stands in the caller's arrays.
    RNNKERNELS_INLINE Index place(Index row) const { return of_rows ? of_rows[row] : row; }

    // The end of a chunk that begins at step `begin`, and the begin of one that ends at `end`: as many whole steps
    // as have at most `most` rows, at least one.
    Index chunk_end(Index begin, Index most) const {
        Index end = begin + 1;
        while (end < steps && first(end + 1) - first(begin) <= most) ++end;
        return end;
    }
    Index chunk_begin(Index end, Index most) const {
        Index begin = end - 1;
        while (begin > 0 && first(end) - first(begin - 1) <= most) --begin;
        return begin;
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
