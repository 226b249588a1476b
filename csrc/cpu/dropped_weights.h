// Weight dropout on the CPU: copies of matrices with some elements dropped (recurrence/masks.h says which).
#pragma once

#include "../recurrence/masks.h"
#include "workspace.h"

namespace rnnkernels::RNNKERNELS_TARGET {

using cpu::Workspace;

// to = from with each element dropped with probability `rate`, the others divided by 1 - rate; this thread's share of
// the rows. to may be from. An evaluation of the generator serves four rows.
template <class T>
void drop_elements(const T* from, T* to, Index rows, Index columns, double rate, std::uint64_t key,
                   std::uint32_t stream, int thread, int threads) {
    using V = Vec<T>;
    const Chance<T> dropped(rate);
    const V scale(static_cast<T>(1 / (1 - rate)));
    const Index groups = (rows + 3) / 4;
    for (Index group = groups * thread / threads; group < groups * (thread + 1) / threads; ++group)
        for (Index column = 0; column < columns; column += V::lanes) {
            const auto words = random_words<T>(
                key, {static_cast<std::uint32_t>(column), static_cast<std::uint32_t>(group), 0, stream});
            for (Index i = 0; i < 4 && group * 4 + i < rows; ++i) {
                const Index at = (group * 4 + i) * columns + column;
                const V kept = V::load(from + at, columns - column) * scale;
                dropped.choose(words.word[i], V(T(0)), kept).store(to + at, columns - column);
            }
        }
}

// Weight dropout: copies of a call's recurrent weights with some elements dropped, which take their place.
template <class T>
class DroppedWeights {
public:
    // `in` then has the copies. Rows, and columns of weight_gg, in units of H; none: the cell has no such weight.
    // `width`: columns of weight_hh.
    void take(Workspace& workspace, Inputs& in, Index width, int hidden_rows, int gate_rows, int gate_columns) {
        noise_ = in.noise;
        if (noise_.weights <= 0 || noise_.expected) return;
        const Index hidden = in.shape.hidden;
        hh_ = copy_of(workspace, in.weight_hh, hidden_rows * hidden, width);
        gg_ = copy_of(workspace, in.weight_gg, gate_rows * hidden, gate_columns * hidden);
    }
    // Whether there are copies.
    bool any() const { return hh_.to != nullptr; }
    // A share of them.
    void fill(int share, int shares) const {
        drop(hh_, Stream::weight_hh, hh_.from, hh_.to, share, shares);
        drop(gg_, Stream::weight_gg, gg_.from, gg_.to, share, shares);
    }
    // The gradients of the copies become those of the weights.
    void backward(void* dweight_hh, void* dweight_gg, int thread, int threads) const {
        drop(hh_, Stream::weight_hh, static_cast<T*>(dweight_hh), static_cast<T*>(dweight_hh), thread, threads);
        drop(gg_, Stream::weight_gg, static_cast<T*>(dweight_gg), static_cast<T*>(dweight_gg), thread, threads);
    }

private:
    struct Copy {
        const T* from;
        T* to;  // null: there is none
        Index rows, columns;
    };
    static Copy copy_of(Workspace& workspace, const void*& weight, Index rows, Index columns) {
        if (rows * columns == 0) return {};
        const Copy copy{static_cast<const T*>(weight), workspace.take<T>(rows * columns), rows, columns};
        weight = copy.to;
        return copy;
    }
    void drop(const Copy& copy, Stream stream, const T* from, T* to, int thread, int threads) const {
        if (copy.to)
            drop_elements(from, to, copy.rows, copy.columns, noise_.weights, noise_.seed, stream_of(noise_, stream),
                          thread, threads);
    }

    Noise noise_{};
    Copy hh_{}, gg_{};
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
