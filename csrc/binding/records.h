// Python's named tuples (parameters.py: Layer; _call.py: Rows; noise.py: Drawn) as structs with the same fields in the
// same order, and how pybind11 reads one. Not here: what makes them right (arguments.h).
#pragma once

#include <tuple>
#include <utility>

#include "array.h"

namespace rnnkernels::binding {

using OptionalArray = std::optional<Array>;

// A layer's parameters.
struct Layer {
    Array weight_ih, weight_hh;
    OptionalArray bias_ih, bias_hh, weight_gg, weight_diagonal, weight_hr;

    using Fields = std::tuple<Array, Array, OptionalArray, OptionalArray, OptionalArray, OptionalArray, OptionalArray>;
};

// A ragged batch (recurrence/rows.h): starts (steps+1,) and places (rows,), int64, or no places where the arrays
// (T, B, ...) hold its rows one after another. On a GPU the starts are the host's, and places are not looked at: they
// are there.
struct RaggedRows {
    py::array starts;
    OptionalArray places;

    using Fields = std::tuple<py::array, OptionalArray>;
};

// Random masks (recurrence/problem.h: Noise).
struct Drawn {
    std::uint64_t seed;
    std::uint32_t layer;
    bool expected, per_step;
    Index first_step, batch;
    OptionalArray places;
    std::vector<double> zones;  // of each state
    double recurrent, weights;

    using Fields = std::tuple<std::uint64_t, std::uint32_t, bool, bool, Index, Index, OptionalArray,
                              std::vector<double>, double, double>;
};

}  // namespace rnnkernels::binding

namespace pybind11::detail {

// Reads a sequence of as many items as the record has fields, each as pybind11 reads that field's type.
template <class Record>
struct record_caster {
    static constexpr auto name = make_caster<typename Record::Fields>::name;
    template <class T>
    using cast_op_type = movable_cast_op_type<T>;

    bool load(handle source, bool convert) {
        make_caster<typename Record::Fields> fields;
        if (!fields.load(source, convert)) return false;
        const auto record = [](auto&&... field) { return Record{std::move(field)...}; };
        read_.emplace(std::apply(record, cast_op<typename Record::Fields&&>(std::move(fields))));
        return true;
    }
    operator Record&() { return *read_; }
    operator Record&&() && { return std::move(*read_); }

private:
    std::optional<Record> read_;  // an empty array would be one more array to make
};

// "full" or "bfloat16".
template <>
struct type_caster<rnnkernels::Products> {
    PYBIND11_TYPE_CASTER(rnnkernels::Products, const_name("str"));

    bool load(handle source, bool) {
        if (!PyUnicode_Check(source.ptr())) return false;
        const bool full = PyUnicode_CompareWithASCIIString(source.ptr(), "full") == 0;
        if (!full && PyUnicode_CompareWithASCIIString(source.ptr(), "bfloat16") != 0)
            throw value_error("products: expected full or bfloat16, got '" + source.cast<std::string>() + "'");
        value = full ? rnnkernels::Products::full : rnnkernels::Products::bfloat16;
        return true;
    }
    static handle cast(rnnkernels::Products products, return_value_policy, handle) {
        return str(products == rnnkernels::Products::full ? "full" : "bfloat16").release();
    }
};

template <>
struct type_caster<rnnkernels::binding::Layer> : record_caster<rnnkernels::binding::Layer> {};
template <>
struct type_caster<rnnkernels::binding::RaggedRows> : record_caster<rnnkernels::binding::RaggedRows> {};
template <>
struct type_caster<rnnkernels::binding::Drawn> : record_caster<rnnkernels::binding::Drawn> {};

}  // namespace pybind11::detail
