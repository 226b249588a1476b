// A random call on the backend and the memory it needs: what check_sets and count_instructions have in common.
//
// Arrays are as a caller may have them, no better aligned than their elements. The values are the same on every
// machine, and for float and double. Not here: what is compared (check_sets.cpp) or counted (count.cpp).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "backend_table.h"
#include "binding/ragged_lengths.h"

namespace native {

using rnnkernels::backend;
using rnnkernels::CellInfo;
using rnnkernels::Dtype;
using rnnkernels::Index;
using rnnkernels::Shape;

template <class T>
inline constexpr Dtype dtype_of = std::is_same_v<T, float> ? Dtype::float32 : Dtype::float64;

// Numbers that are the same everywhere, which <random>'s distributions are not (PCG-XSH-RR).
class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed) { next(); }
    std::uint32_t next() {
        const std::uint64_t old = state_;
        state_ = old * 6364136223846793005ULL + 1442695040888963407ULL;
        const auto mixed = static_cast<std::uint32_t>(((old >> 18U) ^ old) >> 27U);
        const auto turn = static_cast<std::uint32_t>(old >> 59U);
        return (mixed >> turn) | (mixed << ((32U - turn) & 31U));
    }
    // Uniform in [-bound, bound).
    float uniform(float bound) { return (static_cast<float>(next() >> 8U) / 8388608.0F - 1.0F) * bound; }

private:
    std::uint64_t state_;
};

// An array between two fences, NaN all over until it is written.
template <class T>
class Array {
public:
    Array() : Array(0) {}
    explicit Array(Index count) : count_(static_cast<std::size_t>(count)), memory_(count_ + 2 * kFence) {
        std::memset(memory_.data(), 0xff, memory_.size() * sizeof(T));
    }
    Array(Index count, Random& random, float bound) : Array(count) {
        for (std::size_t i = 0; i < count_; ++i) data()[i] = static_cast<T>(random.uniform(bound));
    }
    T* data() { return memory_.data() + kFence; }
    const T* data() const { return memory_.data() + kFence; }
    std::size_t size() const { return count_; }
    T operator[](std::size_t i) const { return data()[i]; }

    bool fences_stand() const {
        constexpr std::size_t bytes = kFence * sizeof(T);
        unsigned char fence[bytes];
        std::memset(fence, 0xff, bytes);
        return std::memcmp(memory_.data(), fence, bytes) == 0 && std::memcmp(data() + count_, fence, bytes) == 0;
    }

private:
    static constexpr std::size_t kFence = 33;  // odd, and two vectors of any set
    std::size_t count_;
    std::vector<T> memory_;
};

// What a forward keeps for its backward, aligned as csrc/binding aligns it, and as NaN as an Array.
class Reserve {
public:
    Reserve() : Reserve(0) {}
    explicit Reserve(Index bytes) : bytes_(bytes + kAlignment) {}
    void* data() {
        return bytes_.data() + (kAlignment - reinterpret_cast<std::uintptr_t>(bytes_.data()) % kAlignment) % kAlignment;
    }
    bool fences_stand() const { return bytes_.fences_stand(); }

private:
    static constexpr Index kAlignment = 64;
    Array<unsigned char> bytes_;
};

// What a call may have or lack.
struct Options {
    bool bias;
    bool tokens;              // instead of vectors
    bool state;               // an initial state
    bool d_state;             // a gradient of the final state
    bool noise;               // every kind of mask
    bool term = false;        // one of each sequence, added in every step
    bool all_states = false;  // those after h after every step, their gradients and readings
};

// The arguments of a forward and its backward.
template <class T>
struct Problem {
    int cell;
    Shape shape;
    Options options;
    Array<T> weight_ih, weight_hh, bias_ih, bias_hh, weight_gg, weight_diagonal, weight_hr;
    Array<T> x, d_output, term;
    std::vector<std::int64_t> tokens;
    std::vector<Array<T>> state, d_state, d_sequence;
    // Of a ragged batch, whose steps and sequences `shape` counts; `slots` rows are in x and output, `batch` in a step
    // of theirs.
    bool ragged = false;
    std::vector<Index> starts, places;
    Index ragged_slots = 0, ragged_batch = 0;

    const CellInfo& info() const { return backend().cell(cell); }
    // Units of a state.
    Index width(std::size_t state) const { return state == 0 && info().projected ? shape.projection : shape.hidden; }
    // Rows of x and output, and how many of them are run.
    Index slots() const { return ragged ? ragged_slots : shape.steps * shape.batch; }
    Index rows() const { return ragged ? starts.back() : shape.steps * shape.batch; }

    rnnkernels::Inputs inputs() const {
        rnnkernels::Inputs in{};
        in.shape = shape;
        in.x = options.tokens ? nullptr : x.data();
        static constexpr std::int64_t none = 0;  // not null, or the backend would not know the kind
        in.tokens = !options.tokens ? nullptr : tokens.empty() ? &none : tokens.data();
        if (ragged) {
            in.starts = starts.data();
            in.places = places.data();
        }
        if (options.term) in.term = term.data();
        in.weight_ih = weight_ih.data();
        in.weight_hh = weight_hh.data();
        in.bias_ih = options.bias ? bias_ih.data() : nullptr;
        in.bias_hh = options.bias ? bias_hh.data() : nullptr;
        in.weight_gg = weight_gg.data();
        in.weight_diagonal = weight_diagonal.data();
        in.weight_hr = weight_hr.data();
        if (options.noise) in.noise = noise();
        if (options.state)
            for (std::size_t s = 0; s < state.size(); ++s) in.state[s] = state[s].data();
        return in;
    }

    rnnkernels::Noise noise() const {
        rnnkernels::Noise noise{};
        noise.seed = 0x0123456789abcdefU;
        noise.layer = 5;
        noise.batch = ragged ? ragged_batch : shape.batch;
        noise.per_step = shape.hidden % 2 == 0;
        for (int s = 0; s < info().state_count; ++s) {
            if (!info().zoned[s]) continue;
            noise.zoneout[s] = 0.1 * (s + 1);
            noise.zones = true;
        }
        noise.recurrent = 0.25;
        noise.weights = 0.125;
        return noise;
    }
};

// `ragged`: the lengths of a batch of this shape, or null.
template <class T>
Problem<T> make_problem(int cell, Shape shape, const Options& options,
                        const rnnkernels::binding::RaggedLengths* ragged = nullptr) {
    const CellInfo& info = backend().cell(cell);
    if (info.direct) shape.input = shape.hidden;
    if (info.projected) shape.projection = shape.hidden * 2 / 3 + 1;
    const auto& [steps, batch, input, hidden, projection, elements] = shape;
    const Index width = info.projected ? projection : hidden;
    const Index input_rows = info.input_rows * hidden, recurrent_rows = info.hidden_rows * hidden;
    Random random(static_cast<std::uint64_t>((((cell * 1009 + steps) * 1009 + batch) * 1009 + input) * 1009 + hidden));
    const float bound = 1.0F / std::sqrt(static_cast<float>(hidden));
    const float spread = 1.7F;  // about a standard normal's
    Problem<T> p;
    p.cell = cell;
    p.shape = shape;
    p.options = options;
    const Index slots = steps * batch;
    if (ragged) {
        p.ragged = true;
        p.starts = ragged->starts(), p.places = ragged->places();
        p.ragged_slots = slots, p.ragged_batch = batch;
        p.shape.steps = ragged->steps(), p.shape.batch = ragged->sequences();
    }
    const Index sequences = p.shape.batch;
    p.weight_ih = Array<T>(input_rows * input, random, bound);
    p.weight_hh = Array<T>(recurrent_rows * width, random, bound);
    p.bias_ih = Array<T>(input_rows, random, bound);
    p.bias_hh = Array<T>(recurrent_rows, random, bound);
    p.weight_gg = Array<T>(info.gate_rows * hidden * info.gate_columns * hidden, random, bound);
    p.weight_diagonal = Array<T>(info.diagonal_count * hidden, random, bound);
    p.weight_hr = Array<T>(info.projected ? width * hidden : 0, random, bound);
    for (Index i = 0; i < info.diagonal_count * hidden; ++i)  // gains about 1/2: see tests/problems.py
        if (info.diagonals[i / hidden].initial == std::string("one"))
            p.weight_diagonal.data()[i] = (1 + p.weight_diagonal[static_cast<std::size_t>(i)]) / 2;
    p.x = Array<T>(slots * input, random, spread);
    for (Index i = 0; i < slots; ++i) p.tokens.push_back(random.next() % static_cast<std::uint32_t>(input));
    p.d_output = Array<T>(slots * width, random, spread);
    for (std::size_t s = 0; s < static_cast<std::size_t>(info.state_count); ++s) {
        Array<T>& state = p.state.emplace_back(sequences * p.width(s), random, spread);
        if (info.positive[s])
            for (std::size_t i = 0; i < state.size(); ++i) state.data()[i] = std::abs(state[i]) + T(0.5);
        p.d_state.emplace_back(sequences * p.width(s), random, spread);
    }
    if (options.term) p.term = Array<T>(sequences * input_rows, random, spread);
    for (int s = 0; options.all_states && s < info.state_count; ++s)
        p.d_sequence.emplace_back(s == 0 ? 0 : slots * hidden, random, spread);
    return p;
}

// The arrays that a call makes. A forward's: the output, then the final states. Calls point into it.
template <class T>
struct Results {
    std::vector<std::string> names;
    std::vector<Array<T>> arrays;
    Reserve reserve;

    T* add(const std::string& name, Index count) {
        names.push_back(name);
        arrays.emplace_back(count);
        return arrays.back().data();
    }
};

// A forward (`training`: that keeps a reserve) of `p`, into arrays that it adds to `made`.
template <class T>
rnnkernels::ForwardCall forward_call(int set, const Problem<T>& p, bool training, Results<T>& made) {
    const Shape& s = p.shape;
    rnnkernels::ForwardCall call{};
    call.in = p.inputs();
    call.output = made.add("output", p.slots() * p.width(0));
    for (std::size_t i = 0; i < static_cast<std::size_t>(p.info().state_count); ++i)
        call.final_state[i] = made.add("final " + std::string(p.info().states[i]), s.batch * p.width(i));
    for (int i = 1; p.options.all_states && i < p.info().state_count; ++i)
        call.sequence[i] = made.add("all " + std::string(p.info().states[i]), p.slots() * s.hidden);
    if (training) {
        made.reserve = Reserve(backend().reserve_size(set, p.cell, dtype_of<T>, s.hidden, p.options.noise) * p.rows());
        call.reserve = made.reserve.data();
    }
    return call;
}

// The backward of a forward that was run, likewise.
template <class T>
rnnkernels::BackwardCall backward_call(const Problem<T>& p, const rnnkernels::ForwardCall& forward, Results<T>& made) {
    const auto count = [](const Array<T>& array) { return static_cast<Index>(array.size()); };
    rnnkernels::BackwardCall call{};
    call.in = p.inputs();
    call.output = forward.output;
    call.reserve = forward.reserve;
    call.d_output = p.d_output.data();
    if (!p.options.tokens) call.dx = made.add("dx", count(p.x));
    call.dweight_ih = made.add("dweight_ih", count(p.weight_ih));
    call.dweight_hh = made.add("dweight_hh", count(p.weight_hh));
    if (p.options.bias) {
        call.dbias_ih = made.add("dbias_ih", count(p.bias_ih));
        call.dbias_hh = made.add("dbias_hh", count(p.bias_hh));
    }
    call.dweight_gg = made.add("dweight_gg", count(p.weight_gg));
    if (p.info().projected) call.dweight_hr = made.add("dweight_hr", count(p.weight_hr));
    call.dweight_diagonal = made.add("dweight_diagonal", count(p.weight_diagonal));
    if (p.options.term) call.dterm = made.add("dterm", count(p.term));
    for (std::size_t i = 0; i < static_cast<std::size_t>(p.info().state_count); ++i) {
        if (p.options.all_states) {
            if (i > 0) call.d_sequence[i] = p.d_sequence[i].data();
            call.norms[i] = made.add("norms of d" + std::string(p.info().states[i]), p.slots());
        }
        if (p.options.d_state) call.d_final_state[i] = p.d_state[i].data();
        call.d_state[i] = made.add("initial d" + std::string(p.info().states[i]), p.shape.batch * p.width(i));
    }
    return call;
}

}  // namespace native
