// What an attending recurrence is given and gives, checked: Python's tuples (rnnkernels.attention makes them) and
// recurrence/attention.h's structs. Not here: the equations (there), the call (calls.cpp).
#pragma once

#include "arguments.h"

namespace rnnkernels::binding {

// The seed of the places that are drawn, none for the likeliest place, and the number of the call's first step.
using Draws = std::optional<std::tuple<std::optional<std::uint64_t>, Index>>;

struct AttentionRecord {
    Array keys, features;  // (B, L, A), (B, L, D)
    OptionalArray mask;    // (B, L)
    Array weight_query;    // (A, H)
    OptionalArray bias_query, score, weight_gate, bias_gate, weight_location, location;
    double scale;
    Draws hard;

    using Fields = std::tuple<Array, Array, OptionalArray, Array, OptionalArray, OptionalArray, OptionalArray,
                              OptionalArray, OptionalArray, OptionalArray, double, Draws>;
};
using OptionalAttention = std::optional<AttentionRecord>;

// What a forward found: weights (T, B, L), contexts (T, B, D), and the places (T, B) of hard attention.
struct AttendedRecord {
    Array weights, contexts;
    OptionalArray places;

    using Fields = std::tuple<Array, Array, OptionalArray>;
};
// Gradients of weights and of contexts.
using AttendedGradient = std::optional<std::tuple<OptionalArray, OptionalArray>>;

// The parameters, and of weight_ih's columns those of the context, which are taken from I; `problem` has parameters,
// and no x yet.
void read_attention(Problem& problem, const OptionalAttention& given, Attention& to);
// What is looked at; x and the schedule have been read. `problem` then points at `to`.
void check_attention(Problem& problem, const AttentionRecord& given, Attention& to);

// Fresh arrays for what a forward finds, as a tuple: weights, contexts, places, location.
py::object fresh_attended(const Problem& problem, Attended& to);
// The forward's, read again.
void read_attended(const Problem& problem, const AttendedRecord& given, Attended& to);
// The gradients that a backward is given, and fresh arrays for those that it finds, as a tuple.
py::object fresh_gradients(const Problem& problem, const AttentionRecord& of, const AttendedGradient& given,
                           AttendedGradients& to);

}  // namespace rnnkernels::binding

namespace pybind11::detail {
template <>
struct type_caster<rnnkernels::binding::AttentionRecord> : record_caster<rnnkernels::binding::AttentionRecord> {};
template <>
struct type_caster<rnnkernels::binding::AttendedRecord> : record_caster<rnnkernels::binding::AttendedRecord> {};
}  // namespace pybind11::detail
