// The forward engine's phases for an attending recurrence, before those of the cell (recurrence/attention.h has the
// equations, attention_row.h a row's).
//
// The parts of a row group divide the query's units (ask), meet, divide the rows (weigh), meet, and divide the cell's
// units (take_context), each of which continues the sums of W_ih x + b_ih with the context's. Where the last of x's
// chains has begun after others and goes on into the context (kChain), all of that chain is made here. So a cell's
// input is one sum over (x, context), and the results are those of a plain recurrence on these, bit for bit.
#pragma once

#include "forward.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
void ForwardEngine<T>::ask(Index t) {
    const AttendingForward<T>& a = shared_.attending;
    each_part(t, [&]() RNNKERNELS_INLINED {
        const Step now = at_step(t);
        const Range blocks = split_range(a.query_blocks, blocks_per_edge(1, 1), part_.parts, part_.number);
        if (now.rows.count == 0 || blocks.first == blocks.last) return;
        const ItemProduct<T> product(a.query, blocks.first, blocks.last, now.rows.count, nullptr);
        product.run_all(now.h + now.rows.first * width(), width() * now.rows.step, now.rows.count,
                        a.q_of(now.first, now.rows.first) + blocks.first * lanes, a.q_row() * now.rows.step,
                        shared_.watch);
    });
}

template <class T>
void ForwardEngine<T>::weigh(Index t) {
    each_part(t, [&]() RNNKERNELS_INLINED {
        const Step now = at_step(t);
        part_.share_of(now.rows).each([&](Index row) {
            attend(now, row);
            cpu::look(shared_.watch);
        });
    });
}

template <class T>
void ForwardEngine<T>::attend(const Step& now, Index row) {
    const AttendingForward<T>& shared = shared_.attending;
    const Attention& a = *shared.call;
    const Attended& to = shared_.call.attended;
    const Index at = now.first + row, place = rows_.place(at);
    T* const before = shared.before ? shared.before + row * shared.before_size() : nullptr;
    const AttentionRow<T> of_row = shared.row(place % a.batch, before);
    T* const alpha = scratch_.attending.alpha;
    T* const context = shared.context_of(row);
    if (shared.of_x > 0) x_.end(at, shared.of_x, context - shared.of_x);
    of_row.weigh(shared.q_of(now.first, row), scratch_.attending.made, alpha);
    const T beta = shared.beta(now.h + row * width(), width());
    if (a.hard) {
        const Index drawn = of_row.draw(alpha, uniform_of<T>(a, place));
        of_row.look_at_place(drawn, beta, context);
        to.places[place] = drawn;
    } else {
        of_row.look(alpha, beta, context);
    }
    std::memcpy(static_cast<T*>(to.weights) + place * a.places, alpha, static_cast<std::size_t>(a.places) * sizeof(T));
    std::memcpy(static_cast<T*>(to.contexts) + place * a.features, context,
                static_cast<std::size_t>(a.features) * sizeof(T));
    for (Index c = 0; c < a.channels; ++c) {
        T* const s = before + c * tapped_row(a) + a.taps / 2;
        for (Index i = 0; i < a.places; ++i) s[i] = c == 0 ? alpha[i] : s[i] + alpha[i];
    }
}

template <class T>
void ForwardEngine<T>::take_context(Index t) {
    const AttendingForward<T>& a = shared_.attending;
    const GateProduct<T>& w = a.context;
    const Index size = w.columns.row();
    each_part(t, [&]() RNNKERNELS_INLINED {
        const Step now = at_step(t);
        const RowSet rows = now.rows;
        each_item(t, [&](Index block, Index end) {
            const Index first = w.columns.vector(block), last = w.columns.vector(end);
            const ItemProduct<T> item(w, block, end, rows.count, nullptr);
            for (Index i = 0; i < rows.count;) {
                const int tile = item.next_rows(rows.count - i);
                T* const out = a.x_part + rows.at(i) * size + first * lanes;
                for (int r = 0; r < tile; ++r)
                    std::memcpy(out + r * size * rows.step, x_.part(now.first + rows.at(i + r)) + first * lanes,
                                static_cast<std::size_t>((last - first) * lanes) * sizeof(T));
                item.go_on(a.context_of(rows.at(i)) - a.of_x, a.context_row() * rows.step, tile, out, size * rows.step);
                i += tile;
                if (i < rows.count) cpu::look(shared_.watch);
            }
        });
    });
}

// s after the last step, of a dense batch.
template <class T>
void ForwardEngine<T>::finish_attending() {
    const AttendingForward<T>& shared = shared_.attending;
    const Attention& a = *shared.call;
    T* const to = static_cast<T*>(shared_.call.attended.location);
    if (!to) return;
    part_.share_of(part_.rows).each([&](Index row) {
        for (Index c = 0; c < a.channels; ++c)
            std::memcpy(to + (row * a.channels + c) * a.places,
                        shared.before + row * shared.before_size() + c * tapped_row(a) + a.taps / 2,
                        static_cast<std::size_t>(a.places) * sizeof(T));
    });
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
