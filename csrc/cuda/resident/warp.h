// One warp of a resident kernel: a forward whose recurrent weights stay in registers for all steps of a chunk.
//
// In a step a warp multiplies its rows of weight_hh with h of its cluster's rows of the batch, does the cell's maths
// for its units, and sends their h to every block of the cluster, each of which waits for all of it before the next
// step. There is no other barrier: a block has two buffers of h, and none can be written before all have read it, since
// what is written is made of what they made of it.
//
// The text knows no GPU. `Machine` is what a warp can do: on a GPU (machine.h) a lane is a thread; on the host
// (tests/native/resident_machine.h) all lanes are run one after the other, and warps in any order that waiting allows.
//
//   shape()                          the kernel's (geometry.h): on a GPU a constant
//   kTiles, kDepth, kGroups, kLaneUnits   as the shape's or, on the host, the most that any has: sizes of arrays
//   Own<V>, Values<n>                a V, and n numbers, of every lane's own; own[lane], values.of(lane)
//   lanes(f), lanes_later(f)         f(lane) by every lane; long after the first
//   shuffle(own, distance)           each lane gets that of the lane whose number differs by this bit
//   load(b, buffer, group, column)   B fragments of two tiles along k, of a group's h
//   multiply(sum, a0, .., b0, b1)    sum + A B
//   load_numbers(lane, b, row, k, h)                in full: four numbers of h
//   put_spare(lane, i, words), get_spare(i, own)    the i-th four of a lane's spare weights: shared memory, and back
//   send(lane, block, buffer, row, column, bytes)   eight bytes of h into a block's buffer; its barrier counts them
//   send_words(...)                                 the same of sixteen
//   block, warp                      of the cluster, of the block
//
// Not here: where things are (geometry.h); the products (weights.h); the maths (maths.h); who begins a kernel
// (forward.h).
#pragma once

#include "maths.h"
#include "weights.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Maths, class Stored, class Machine>
class ResidentWarp : protected WarpWeights<Stored, Machine> {
    using Weights = WarpWeights<Stored, Machine>;
    using V = Vec<float>;
    template <class Value>
    using Own = typename Machine::template Own<Value>;
    template <int count>
    using Values = typename Machine::template Values<count>;
    static constexpr int kGroups = Machine::kGroups, kLaneUnits = Machine::kLaneUnits;

public:
    RNNKERNELS_INLINE ResidentWarp(const Machine& machine, const ResidentCall& call, Index tile)
        : Weights(machine, call), first_row_(tile * m_.shape().cluster_rows()) {
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            Weights::load(lane);
            each_value([&](int g, int s) RNNKERNELS_INLINED {
                const Index row = row_of(lane, g), unit = unit_of(lane, s);
                const bool is = row < call_.batch && unit < hidden();
                RNNKERNELS_IN_REGISTERS
                for (int k = 0; k < Maths::state_count(call_); ++k)
                    state_[g][s][k][lane] = is ? call_.a.states[k][row * hidden() + unit] : 0.0F;
            });
            RNNKERNELS_IN_REGISTERS
            for (int s = 0; s < lane_units(); ++s) Maths::begin(call_, unit_in(unit_of(lane, s)), bias_[s].of(lane));
        });
        if (call_.steps == 0) return;
        make_marks(-1);
        if constexpr (Maths::vectors > 0) {
            Own<unsigned> fed[Maths::vectors][kLaneUnits];
            RNNKERNELS_IN_REGISTERS
            for (int g = 0; g < m_.shape().groups; ++g)
                if (m_.shape().vectors > 0) make_vectors(g, 0, fed);
        }
        fetch(0);
    }

    // u of the step's rows, from a buffer of h.
    RNNKERNELS_INLINE void multiply(int buffer) {
        multiply(buffer, m_.shape().part(0));
        if (m_.shape().parts() > 1) multiply(buffer, m_.shape().part(1));
    }

    // The cell's step t of the chunk; `last`: no block will read its h.
    RNNKERNELS_INLINE void step(Index t, bool last) {
        const Index count = call_.count(t), first = call_.first(t);
        RNNKERNELS_IN_REGISTERS
        for (int g = 0; g < m_.shape().groups; ++g) {
            Own<unsigned> half[kLaneUnits];
            m_.lanes([&](int lane) RNNKERNELS_INLINED {
                const Index row = row_of(lane, g);
                RNNKERNELS_IN_REGISTERS
                for (int s = 0; s < lane_units(); ++s) {
                    const Index unit = unit_of(lane, s);
                    if (row < count && unit < hidden()) {
                        V now[Maths::states], next[Maths::states];
                        get_states(g, s, lane, now);
                        Maths::step(call_, first + row, row, unit, x_[g][s].of(lane), u_[g][s].of(lane),
                                    bias_[s].of(lane), now, next);
                        zone(g, s, lane, first + row, row, unit, now, next);
                        set_states(g, s, lane, first + row, unit, next);
                    }
                    half[s][lane] = Stored::bits(operand(g, s, lane, state_[g][s][0][lane]));
                }
            });
            if (!last) send(half, g, (t + 1) & 1);
            if (!last) send_vectors(g, t + 1, (t + 1) & 1);
        }
        if (!last) fetch(t + 1);
    }

    // The states after the chunk.
    RNNKERNELS_INLINE void end() {
        m_.lanes_later([&](int lane) RNNKERNELS_INLINED {
            each_value([&](int g, int s) RNNKERNELS_INLINED {
                const Index row = row_of(lane, g), unit = unit_of(lane, s);
                if (row >= call_.batch || unit >= hidden()) return;
                RNNKERNELS_IN_REGISTERS
                for (int k = 0; k < Maths::state_count(call_); ++k)
                    call_.a.states[k][row * hidden() + unit] = state_[g][s][k][lane];
            });
        });
    }

protected:
    using Weights::call_, Weights::first_of_warp, Weights::hidden, Weights::m_;

    // A part of a step's products.
    RNNKERNELS_INLINE void multiply(int buffer, const ProductPart& part) {
        Weights::multiply(buffer, part, [&](int unit, int gate, int g, int lane, float sum) RNNKERNELS_INLINED {
            u_[g][unit].of(lane)[gate] = V(sum);
        });
    }

    template <class Use>
    RNNKERNELS_INLINE void each_value(Use use) const {
        RNNKERNELS_IN_REGISTERS
        for (int g = 0; g < m_.shape().groups; ++g) RNNKERNELS_IN_REGISTERS
        for (int s = 0; s < lane_units(); ++s) use(g, s);
    }
    RNNKERNELS_INLINE int lane_units() const { return m_.shape().lane_units(); }
    // A lane that has no row gets one behind all.
    RNNKERNELS_INLINE Index row_of(int lane, int g) const {
        return has_row(lane) ? first_row_ + g * m_.shape().rows + group_row(lane) : call_.batch;
    }
    RNNKERNELS_INLINE bool has_row(int lane) const { return group_row(lane) < m_.shape().rows; }
    RNNKERNELS_INLINE Index unit_of(int lane, int s) const {
        return first_of_warp() + first_unit(m_.shape(), lane) + s;
    }
    // One that there is.
    RNNKERNELS_INLINE Index unit_in(Index unit) const { return unit < hidden() ? unit : hidden() - 1; }

    RNNKERNELS_INLINE void get_states(int g, int s, int lane, V* now) const {
        RNNKERNELS_IN_REGISTERS
        for (int k = 0; k < Maths::state_count(call_); ++k) now[k] = V(state_[g][s][k][lane]);
    }
    // What masks keep of the states before, in place of those that the cell made, which are kept by themselves; `row`
    // is the chunk's.
    RNNKERNELS_INLINE void zone(int g, int s, int lane, Index row, Index of_batch, Index unit, const V* now, V* next) {
        if (!(m_.shape().masks & kZones)) return;
        const ForwardArrays<float>& a = call_.a;
        RNNKERNELS_IN_REGISTERS
        for (int k = 0; k < Maths::state_count(call_); ++k) {
            if (a.made_states) a.made_states[row * a.made_row + k * hidden() + unit] = next[k].raw;
            next[k] = call_.masks.zone(k, marks_[g][s][lane], now[k], next[k]);
        }
        Maths::keep(call_, row, of_batch, unit, next);
    }
    // A value as the next step multiplies it or, of `mark` kDropped, this one.
    RNNKERNELS_INLINE float operand(int g, int s, int lane, float value, unsigned mark = kDroppedNext) const {
        if (!(m_.shape().masks & kDrops)) return value;
        return value * call_.masks.factor(marks_[g][s][lane] & mark);
    }
    // The masks of a step, and of what is multiplied in the next one; t = -1: of that alone.
    RNNKERNELS_INLINE void make_marks(Index t) {
        if (!m_.shape().masks) return;
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_value([&](int g, int s) RNNKERNELS_INLINED {
                const Index row = row_of(lane, g), unit = unit_of(lane, s), all = call_.a.first + row;
                const bool is = unit < hidden(), now = is && t >= 0 && row < call_.count(t);
                unsigned marks = 0;
                if ((m_.shape().masks & kZones) && now)
                    marks = call_.masks.kept(Maths::state_count(call_), all + call_.first(t), unit);
                if (m_.shape().masks & kDrops) {
                    if (t >= 0 && (marks_[g][s][lane] & kDroppedNext)) marks |= kDropped;
                    if (is && t + 1 < call_.steps && row < call_.count(t + 1) &&
                        call_.masks.drops(all + call_.first(t + 1), unit))
                        marks |= kDroppedNext;
                }
                marks_[g][s][lane] = marks;
            });
        });
    }
    // For the next step, and those that the caller wants of every step; `row` is the chunk's.
    RNNKERNELS_INLINE void set_states(int g, int s, int lane, Index row, Index unit, const V* next) {
        RNNKERNELS_IN_REGISTERS
        for (int k = 0; k < Maths::state_count(call_); ++k) {
            state_[g][s][k][lane] = next[k].raw;
            if (call_.sequence[k]) call_.a.store(call_.sequence[k], call_.a.place(row) * hidden() + unit, next[k]);
        }
    }

    // What of a step does not wait for h.
    RNNKERNELS_INLINE void fetch(Index t) {
        const Index count = call_.count(t), first = call_.first(t);
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            each_value([&](int g, int s) RNNKERNELS_INLINED {
                const Index row = row_of(lane, g), unit = unit_of(lane, s);
                if (row < count && unit < hidden()) Maths::fetch(call_, first + row, row, unit, x_[g][s].of(lane));
            });
        });
        make_marks(t);
    }

    // What the products of step t multiply beside h, of the states as they are; kept for a backward.
    template <int count>
    RNNKERNELS_INLINE void make_vectors(int g, Index t, Own<unsigned> (&fed)[count][kLaneUnits]) const {
        const Index rows = call_.count(t), first = call_.first(t);
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            const Index row = row_of(lane, g);
            RNNKERNELS_IN_REGISTERS
            for (int s = 0; s < lane_units(); ++s) {
                const Index unit = unit_of(lane, s);
                const bool is = row < rows && unit < hidden();
                V now[Maths::states], made[count];
                RNNKERNELS_IN_REGISTERS
                for (int k = 0; k < count; ++k) made[k] = V(0.0F);
                get_states(g, s, lane, now);
                if (is) Maths::feed(call_, first + row, row, unit, now, made);
                RNNKERNELS_IN_REGISTERS
                for (int k = 0; k < m_.shape().vectors; ++k) {
                    made[k] = V(operand(g, s, lane, made[k].raw));
                    fed[k][s][lane] = Stored::bits(made[k].raw);
                    if (is && call_.a.fed)
                        call_.a.store(call_.a.fed, ((first + row) * m_.shape().vectors + k) * hidden() + unit, made[k]);
                }
            }
        });
    }
    RNNKERNELS_INLINE void send_vectors(int g, Index t, int buffer) {
        if constexpr (Maths::vectors > 0) {
            if (m_.shape().vectors == 0) return;
            Own<unsigned> fed[Maths::vectors][kLaneUnits];
            make_vectors(g, t, fed);
            RNNKERNELS_IN_REGISTERS
            for (int k = 0; k < m_.shape().vectors; ++k) send(fed[k], g, buffer, 1 + k);
        }
    }

    // The h of a lane's units and its sharers', as eight bytes, to the blocks that are the lane's; or a vector, to the
    // section that is its.
    RNNKERNELS_INLINE void send(Own<unsigned> (&half)[kLaneUnits], int g, int buffer, int section = 0) {
        if constexpr (!is_half<Stored>) return send_numbers(half, g, buffer, section);
        Own<unsigned> word[2];
        if (lane_units() == 1) {
            join(half[0], 8, word[0]);
            both<1>(word, 16);
        } else {
            m_.lanes([&](int lane)
                         RNNKERNELS_INLINED { word[0][lane] = half[0][lane] | half[kLaneUnits > 1][lane] << 16; });
            if (lane_units() == 2) both<1>(word, 8);
        }
        if constexpr (kLaneUnits == 4) {
            if (lane_units() == 4)
                m_.lanes([&](int lane) RNNKERNELS_INLINED { word[1][lane] = half[2][lane] | half[3][lane] << 16; });
        }
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            const int column = first_column(section) + chunk_unit(m_.shape(), lane);
            const std::uint64_t bytes = word[0][lane] | static_cast<std::uint64_t>(word[1][lane]) << 32;
            RNNKERNELS_IN_REGISTERS
            for (int i = 0; i < m_.shape().blocks; i += m_.shape().sharers())
                if (const int peer = i + first_peer(m_.shape(), lane); peer < m_.shape().blocks)
                    m_.send(lane, peer, buffer, g * kGroup + group_row(lane), column, bytes);
        });
    }
    // The same of float32: four words.
    RNNKERNELS_INLINE void send_numbers(const Own<unsigned> (&number)[kLaneUnits], int g, int buffer, int section) {
        Own<unsigned> word[4];
        RNNKERNELS_IN_REGISTERS
        for (int s = 0; s < lane_units(); ++s) word[s] = number[s];
        if (lane_units() == 1) both<1>(word, 8);
        if (lane_units() < 4) both<2>(word, lane_units() == 1 ? 16 : 8);
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            const int column = first_column(section) + chunk_unit(m_.shape(), lane);
            const unsigned words[4] = {word[0][lane], word[1][lane], word[2][lane], word[3][lane]};
            RNNKERNELS_IN_REGISTERS
            for (int i = 0; i < m_.shape().blocks; i += m_.shape().sharers())
                if (const int peer = i + first_peer(m_.shape(), lane); peer < m_.shape().blocks && has_row(lane))
                    m_.send_words(lane, peer, buffer, g * m_.shape().rows + group_row(lane), column, words);
        });
    }
    // Of the warp's units in a row of the buffer.
    RNNKERNELS_INLINE int first_column(int section) const {
        return section * m_.shape().section() + static_cast<int>(first_of_warp());
    }
    // Two lanes' words in both: the lower lane's first.
    template <int count, int size>
    RNNKERNELS_INLINE void both(Own<unsigned> (&word)[size], int distance) {
        RNNKERNELS_IN_REGISTERS
        for (int i = 0; i < count; ++i) {
            Own<unsigned> other = word[i];
            m_.shuffle(other, distance);
            m_.lanes([&](int lane) RNNKERNELS_INLINED {
                const bool upper = lane & distance;
                word[count + i][lane] = upper ? word[i][lane] : other[lane];
                word[i][lane] = upper ? other[lane] : word[i][lane];
            });
        }
    }
    // Two lanes' halves become one word in both: the lower lane's first.
    RNNKERNELS_INLINE void join(const Own<unsigned>& half, int distance, Own<unsigned>& word) {
        Own<unsigned> other = half;
        m_.shuffle(other, distance);
        m_.lanes([&](int lane) RNNKERNELS_INLINED {
            word[lane] = lane & distance ? other[lane] | half[lane] << 16 : half[lane] | other[lane] << 16;
        });
    }

    const Index first_row_;
    Own<float> state_[kGroups][kLaneUnits][Maths::states];
    Own<unsigned> marks_[kGroups][kLaneUnits];
    Values<Maths::inputs> x_[kGroups][kLaneUnits];
    Values<Maths::hiddens> u_[kGroups][kLaneUnits];
    Values<Maths::hiddens> bias_[kLaneUnits];
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
