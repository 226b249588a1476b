// A layer's parameters as kernels and products take them: in T what the cell reads, in the call's dtype what is
// multiplied, with dropped copies of the recurrent weights where the call asks for that.
#pragma once

#include "arena.h"
#include "convert.h"
#include "layout.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
class LayerArrays {
public:
    // Lays the copies out; nothing is read yet. `in` then has the weights that are multiplied.
    void take(const CellTable& table, Arena& arena, Inputs& in, Dtype storage) {
        storage_ = storage;
        noise_ = in.noise;
        const Index hidden = in.shape.hidden;
        const auto widened = [&](const void* from, Index count) -> Copy {
            if (!from || storage == dtype_of<T>) return {from, static_cast<const T*>(from), nullptr, count};
            T* to = arena.take<T>(count);
            return {from, to, to, count};
        };
        bias_ih_ = widened(in.bias_ih, table.input.count * hidden);
        bias_hh_ = widened(in.bias_hh, table.recurrents * hidden);
        diagonal_ = widened(in.weight_diagonal, table.diagonals * hidden);
        term_ = widened(in.term, in.shape.batch * table.input.count * hidden);
        if (noise_.weights <= 0 || noise_.expected) return;
        hh_ = dropped(arena, in.weight_hh, table.recurrents * hidden, recurrent_row(table, in.shape));
        gg_ = dropped(arena, in.weight_gg, table.gg_rows * hidden, table.gg_columns * hidden);
    }
    void fill(const Queue& queue) const {
        for (const Copy* copy : {&bias_ih_, &bias_hh_, &diagonal_, &term_})
            if (copy->to) each(queue, 1, copy->count, Convert<T>{copy->from, storage_, copy->to, dtype_of<T>});
        drop(queue, hh_, Stream::weight_hh, hh_.from, hh_.to, storage_);
        drop(queue, gg_, Stream::weight_gg, gg_.from, gg_.to, storage_);
    }
    // The gradients of dropped copies, of this dtype, become those of the weights.
    void backward(const Queue& queue, void* dweight_hh, void* dweight_gg, Dtype dtype) const {
        drop(queue, hh_, Stream::weight_hh, dweight_hh, dweight_hh, dtype);
        drop(queue, gg_, Stream::weight_gg, dweight_gg, dweight_gg, dtype);
    }

    const T* bias_ih() const { return bias_ih_.use; }
    const T* bias_hh() const { return bias_hh_.use; }
    const T* diagonal() const { return diagonal_.use; }
    const T* term() const { return term_.use; }

private:
    struct Copy {
        const void* from;
        const T* use;
        T* to;  // null: used where it lies
        Index count;
    };
    struct Dropped {
        const void* from;
        void* to;
        Index rows, columns;  // 0: there is none
    };

    Dropped dropped(Arena& arena, const void*& weight, Index rows, Index columns) const {
        if (rows * columns == 0) return {};
        const Dropped copy{weight, arena.take(rows * columns, storage_), rows, columns};
        weight = copy.to;
        return copy;
    }
    void drop(const Queue& queue, const Dropped& copy, Stream stream, const void* from, void* to, Dtype dtype) const {
        if (copy.rows > 0)
            drop_elements<T>(queue, from, dtype, to, dtype, copy.rows, copy.columns, noise_.weights, noise_.seed,
                             stream_of(noise_, stream));
    }

    Dtype storage_{};
    Noise noise_{};
    Copy bias_ih_{}, bias_hh_{}, diagonal_{}, term_{};
    Dropped hh_{}, gg_{};
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
