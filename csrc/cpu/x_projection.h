// The x part of a chunk of steps, W_ih x + b_ih for all of its rows: one thread's share of it.
//
// A large product over some 256 rows at once, where x is vectors; for tokens a row of the table, or one gathered here.
// Not here: the steps, which read it (forward.h).
#pragma once

#include "forward_shared.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
class XProjection {
public:
    XProjection(const ForwardShared<T>& shared, const ForwardScratch<T>& scratch)
        : shared_(shared),
          weight_(shared.weights().input),
          shape_(shared.call.in.shape),
          rows_(shared.rows),
          scratch_(scratch),
          table_(shared.weights().token_table),
          size_(weight_.columns.row()),
          everyone_(shared.plan.threads > shared.plan.row_groups * shared.plan.unit_groups) {}

    // Whether each part projects its own rows: those of a dense batch, where the plan's grid has all threads.
    bool by_parts() const { return !table_ && !rows_.ragged() && !everyone_; }

    // Makes the x part of the steps [first, last), where parts do not make their own.
    void begin_chunk(Index first, Index last, Phases& phases) {
        chunk_row_ = rows_.first(first);
        if (table_ || by_parts()) return;
        const Index begin = rows_.first(first), end = rows_.first(last);
        if (shared_.x)
            phases.everyone([&](int share, int shares) {
                const Range mine = split_range(end - begin, 1, shares, share);
                copy_x(begin + mine.first, begin + mine.last);
            });
        // Rows divide better than units where there are many.
        const bool by_rows = rows_.ragged() && !everyone_ && shared_.plan.row_groups > 1;
        phases.everyone([&](int share, int shares) {
            const Index item = shared_.cell.item_blocks(Pass::forward, kStripRows);
            const Range all{0, shared_.blocks};
            const Range rows = by_rows ? split_range(end - begin, 1, shares, share) : Range{0, end - begin};
            project_rows(begin + rows.first, begin + rows.last,
                         by_rows ? all : split_range(shared_.blocks, item, shares, share));
        });
    }
    // A part's own.
    void project_part(Index first, Index last, const Part& part) {
        if (part.rows.count == shape_.batch) {
            project_rows(rows_.first(first), rows_.first(last), part.blocks);
            return;
        }
        for (Index t = first; t < last; ++t) {
            const Index row = rows_.first(t) + part.rows.first;
            project_rows(row, row + part.rows.count, part.blocks);
        }
    }

    // A row's x part.
    RNNKERNELS_INLINE const T* part(Index row) const {
        return table_ ? table_ + shared_.tokens[row] * size_ : shared_.x_part + (row - chunk_row_) * size_;
    }
    // What stands behind the I numbers of a row of x.
    RNNKERNELS_INLINE const T* elements(Index row) const { return x(row) + shape_.input; }
    // A row of x itself, for a gate that takes it as it is; of a token zeros with a one at its place.
    RNNKERNELS_INLINE const T* direct(Index row) const {
        return shared_.one_hot ? shared_.one_hot + shape_.hidden - shared_.tokens[row] : x(row);
    }

private:
    const T* x(Index row) const { return static_cast<const T*>(shared_.call.in.x) + rows_.place(row) * x_row(shape_); }

    // Rows [first, last) of x, one behind the other.
    void copy_x(Index first, Index last) {
        for (Index row = first; row < last; ++row)
            std::memcpy(shared_.x + (row - chunk_row_) * shape_.input, x(row),
                        static_cast<std::size_t>(shape_.input) * sizeof(T));
    }

    void gather(Index block, Index token, T* out) const {
        if constexpr (sizeof(T) == 4)
            if (weight_.panels.kept.storage != WeightStorage::full)
                return gather_rounded_token(weight_, block, token, out);
        gather_token<false>(weight_, block, token, out);
    }

    // Rows [first, last), in these blocks of units.
    void project_rows(Index first, Index last, Range blocks) {
        const Index count = last - first;
        T* out = shared_.x_part + (first - chunk_row_) * size_;
        if (shared_.tokens) {
            for (Index row = 0; row < count; ++row)
                for (Index block = blocks.first; block < blocks.last; ++block)
                    gather(block, shared_.tokens[first + row], out + row * size_);
            return;
        }
        const T* const x_rows = shared_.x ? shared_.x + (first - chunk_row_) * shape_.input : x(first);
        const Index stride = shared_.x ? shape_.input : x_row(shape_);
        const ProductRows<T> a = operand_of(weight_.panels, x_rows, stride, RowSet{0, count}, scratch_.low);
        const Index item = shared_.cell.item_blocks(Pass::forward, count);
        for (Index block = blocks.first; block < blocks.last; block += item) {
            const Index end = least(block + item, blocks.last);
            const ItemProduct<T> product(weight_, block, end, count, scratch_.panels);
            const Index column = weight_.columns.vector(block) * Vec<T>::lanes;
            product.run_all(a.data, a.stride, count, out + column, size_, shared_.watch);
        }
    }

    const ForwardShared<T>& shared_;
    const GateProduct<T>& weight_;
    const Shape& shape_;
    const Rows& rows_;
    const ForwardScratch<T>& scratch_;
    const T* const table_;  // of tokens, or null
    const Index size_;      // of a row
    const bool everyone_;   // those who take no part in the steps too
    Index chunk_row_ = 0;   // the first of the chunk at work
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
