// The checks of attention.h.
#include "attention.h"

#include <cstring>

namespace rnnkernels::binding {
namespace {

// A dimension that nothing before has said, at least 1.
Index dimension(const Array& array, const char* name, Index dims, Index number, const char* symbols) {
    if (array.ndim() != dims || array.shape(number) < 1)
        throw py::value_error(std::string(name) + ": expected shape " + symbols + ", none of them 0, got " +
                              std::to_string(array.ndim()) + " dimensions");
    return array.shape(number);
}

}  // namespace

void read_attention(Problem& problem, const OptionalAttention& given, Attention& to) {
    if (!given) return;
    const CellInfo& info = problem.info();
    if (info.projected || info.direct)
        throw py::value_error(std::string("cell: expected one that can attend, got ") + info.name +
                              (info.direct ? ", which adds x itself to a gate" : ", which projects h"));
    const AttentionRecord& in = *given;
    const Dtype dtype = problem.dtype;
    const Index hidden = problem.in.shape.hidden;
    to = {};
    to.size = dimension(in.weight_query, "weight_query", 2, 0, "(A, H)");
    to.features = dimension(in.features, "features", 3, 2, "(B, L, D)");
    const auto read = [&](const OptionalArray& array, const char* name, const Dims& shape, const char* symbols) {
        return checked(problem.place, array, name, dtype, shape, symbols);
    };
    to.weight_query = checked(problem.place, in.weight_query, "weight_query", dtype, {to.size, hidden}, "(A, H)");
    to.bias_query = read(in.bias_query, "bias_query", {to.size}, "(A,)");
    to.score = read(in.score, "score", {to.size}, "(A,)");
    to.weight_gate = read(in.weight_gate, "weight_beta", {hidden}, "(H,)");
    to.bias_gate = read(in.bias_gate, "bias_beta", {1}, "(1,)");
    if (to.bias_gate && !to.weight_gate) throw py::value_error("bias_beta: expected none without weight_beta");
    if (in.weight_location) {
        if (!to.score) throw py::value_error("weight_location: expected none without score");
        to.channels = dimension(*in.weight_location, "weight_location", 3, 1, "(A, C, K)");
        to.taps = dimension(*in.weight_location, "weight_location", 3, 2, "(A, C, K)");
        if (to.channels > 2 || to.taps % 2 == 0)
            throw py::value_error("weight_location: expected (A, C, K) with C at most 2 and K odd");
        to.weight_location = read(in.weight_location, "weight_location", {to.size, to.channels, to.taps}, "(A, C, K)");
    }
    to.scale = in.scale;
    to.hard = in.hard.has_value();
    if (in.hard) {
        const auto& [seed, first_step] = *in.hard;
        to.greedy = !seed, to.seed = seed.value_or(0), to.first_step = first_step;
    }
    const Index inputs = problem.in.shape.input - to.features;
    if (inputs < 0)
        throw py::value_error("params['weight_ih']: expected shape (G*H, I+D) with D = " + std::to_string(to.features) +
                              ", got " + std::to_string(problem.in.shape.input) + " columns");
    problem.in.shape.input = inputs;
}

void check_attention(Problem& problem, const AttentionRecord& given, Attention& to) {
    to.batch = problem.batch;
    to.places = dimension(given.features, "features", 3, 1, "(B, L, D)");
    const auto read = [&](const OptionalArray& array, const char* name, const Dims& shape, const char* symbols) {
        return checked(problem.place, array, name, problem.dtype, shape, symbols);
    };
    to.values = checked(problem.place, given.features, "features", problem.dtype, {to.batch, to.places, to.features},
                        "(B, L, D)");
    to.keys = checked(problem.place, given.keys, "keys", problem.dtype, {to.batch, to.places, to.size}, "(B, L, A)");
    to.mask = read(given.mask, "mask", {to.batch, to.places}, "(B, L)");
    to.location = read(given.location, "location", {to.batch, to.channels, to.places}, "(B, C, L)");
    if (to.location && (problem.in.starts || to.channels == 0))
        throw py::value_error("location: expected none in a ragged batch or without weight_location");
    if (problem.in.starts && !problem.in.places) throw py::value_error("schedule: expected places, got none");
    problem.in.attention = &to;
    // On a GPU places are not looked at: rows that are shared take their turns there anyway.
    if (kDeviceArrays || !problem.in.places || problem.in.shape.steps == 0) return;
    std::vector<bool> seen(static_cast<std::size_t>(to.batch));
    for (Index row = 0; row < problem.in.shape.batch; ++row) {
        const auto at = static_cast<std::size_t>(problem.in.places[row] % to.batch);
        to.rows_shared = to.rows_shared || seen[at];
        seen[at] = true;
    }
}

py::object fresh_attended(const Problem& problem, Attended& to) {
    const Attention& a = *problem.in.attention;
    Array weights = fresh_sequence(problem, a.places), contexts = fresh_sequence(problem, a.features);
    to.weights = weights.mutable_data(), to.contexts = contexts.mutable_data();
    py::object places = py::none(), location = py::none();
    if (a.hard) {
        Array array = fresh_places(problem.place, {problem.steps, problem.batch});
        to.places = static_cast<std::int64_t*>(array.mutable_data());
        places = as_object(std::move(array));
    }
    if (a.channels > 0 && !problem.in.starts) {
        Array array = fresh(problem.place, problem.dtype, {problem.batch, a.channels, a.places});
        to.location = array.mutable_data();
        location = as_object(std::move(array));
    }
    return py::make_tuple(weights, contexts, places, location);
}

void read_attended(const Problem& problem, const AttendedRecord& given, Attended& to) {
    const Attention& a = *problem.in.attention;
    const auto read = [&](const Array& array, const char* name, Index width, const char* symbols) {
        return const_cast<void*>(
            checked(problem.place, array, name, problem.dtype, {problem.steps, problem.batch, width}, symbols));
    };
    to.weights = read(given.weights, "weights", a.places, "(T, B, L)");
    to.contexts = read(given.contexts, "contexts", a.features, "(T, B, D)");
    if (given.places.has_value() != a.hard) throw py::value_error("places: expected those of a hard forward alone");
    if (!a.hard) return;
    const bool right = holds_tokens(*given.places) && in_order(*given.places) &&
                       shape_of(*given.places) == Dims{problem.steps, problem.batch};
    if (!right) throw py::value_error("places: expected int64 (T, B), C-contiguous");
    to.places = static_cast<std::int64_t*>(const_cast<void*>(given.places->data()));
    for (Index row = 0; !kDeviceArrays && row < problem.rows(); ++row) {
        const Index at = problem.in.places ? problem.in.places[row] : row;
        if (to.places[at] < 0 || to.places[at] >= a.places)
            throw py::value_error("places: expected those of this forward, in [0, " + std::to_string(a.places) +
                                  "), got " + std::to_string(to.places[at]));
    }
}

py::object fresh_gradients(const Problem& problem, const AttentionRecord& of, const AttendedGradient& given,
                           AttendedGradients& to) {
    const Attention& a = *problem.in.attention;
    if (given) {
        const auto& [weights, contexts] = *given;
        to.weights = checked(problem.place, weights, "d_weights", problem.dtype,
                             {problem.steps, problem.batch, a.places}, "(T, B, L)");
        to.contexts = checked(problem.place, contexts, "d_contexts", problem.dtype,
                              {problem.steps, problem.batch, a.features}, "(T, B, D)");
    }
    const auto like = [&](void*& where, const Array& array) {
        Array made = fresh(problem.place, problem.dtype, shape_of(array));
        where = made.mutable_data();
        return as_object(std::move(made));
    };
    const auto like_optional = [&](void*& where, const OptionalArray& array) {
        return array ? like(where, *array) : py::object(py::none());
    };
    return py::make_tuple(like(to.keys, of.keys), like(to.values, of.features), like(to.weight_query, of.weight_query),
                          like_optional(to.bias_query, of.bias_query), like_optional(to.score, of.score),
                          like_optional(to.weight_gate, of.weight_gate), like_optional(to.bias_gate, of.bias_gate),
                          like_optional(to.weight_location, of.weight_location));
}

}  // namespace rnnkernels::binding
