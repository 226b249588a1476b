// What comes from Python, checked: dtype, layout, every shape, every token, so that no call can reach memory it
// should not. Every error names the argument, what was expected and what came.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "../backend_table.h"

namespace rnnkernels::binding {

namespace py = pybind11;

using Dims = std::vector<Index>;
using OptionalArray = std::optional<py::array>;
using OptionalState = std::optional<std::vector<py::array>>;

// A layer's parameters: weight_ih, weight_hh, bias_ih, bias_hh, weight_gg, weight_diagonal, weight_hr.
using Layer =
    std::tuple<py::array, py::array, OptionalArray, OptionalArray, OptionalArray, OptionalArray, OptionalArray>;

// A cell's settings, in its order; infinite: off.
using Settings = std::vector<double>;

// A ragged batch (recurrence/rows.h): starts (steps+1,) and places (rows,), int64, or no places where the arrays
// (T, B, ...) hold its rows one after another; none: dense.
using Schedule = std::optional<std::tuple<py::array, OptionalArray>>;

// Random masks (recurrence/problem.h: Noise), in its order: seed, layer, expected, per_step, first_step, batch,
// places, zoneout (a rate for each state), recurrent, weights; none: none.
using OptionalNoise = std::optional<std::tuple<std::uint64_t, std::uint32_t, bool, bool, Index, Index, OptionalArray,
                                               std::vector<double>, double, double>>;

Dims shape_of(const py::array& array);
bool is_dtype(const py::array& array, Dtype dtype);
bool holds_tokens(const py::array& array);

// Whether an object is an array of numbers of this dtype, or of tokens, that kernels can read where it lies.
bool readable(const py::object& x, Dtype dtype);

// The array's data, once it is known to be what the kernels expect. `symbols` describes the shape.
const void* checked(const py::array& array, const char* name, Dtype dtype, const Dims& shape, const char* symbols);
const void* checked(const OptionalArray& array, const char* name, Dtype dtype, const Dims& shape, const char* symbols);

int find_cell(const std::string& name);
int find_set(const std::string& name);

// A fresh array; NaN all over when tests ask for it.
py::array fresh(Dtype dtype, const Dims& shape);

// A layer and what it is given, as a backend reads it. The readers below fill it part by part.
struct Problem {
    int cell = 0;
    Dtype dtype = Dtype::float32;
    Inputs in{};
    Index steps = 0, batch = 0;  // of the sequence arrays; of a ragged batch in.shape has others

    // Rows of all steps.
    Index rows() const { return in.starts ? in.starts[in.shape.steps] : in.shape.steps * in.shape.batch; }
    const CellInfo& info() const { return backend().cell(cell); }
    // Units of a state: of h, where it is projected, others than of the rest.
    Index width(int state) const { return state == 0 && info().projected ? in.shape.projection : in.shape.hidden; }
    Dims sequence_shape(int state) const { return {steps, batch, width(state)}; }
    Dims state_shape(int state) const { return {in.shape.batch, width(state)}; }
};

// The cell, the dtype, I, H and the parameters.
Problem read_parameters(const std::string& cell, const Layer& layer);
// T, B and x: vectors or tokens. One step: x is (B, I) or (B,), and T is 1.
void read_x(Problem& problem, const py::array& x, bool one_step = false);
// One array per state of the cell, each (B, H) or (B, P), into `to`.
void read_state(const Problem& problem, const char* name, const OptionalState& state, const void** to);

// T and B of a ragged batch in the place of x's.
void read_schedule(Problem& problem, const Schedule& schedule);

// What is added in every step, (B, Gx*H).
void read_term(Problem& problem, const OptionalArray& term);

void read_settings(Problem& problem, const Settings& settings);

// What is random in a call; x has been read.
void read_noise(Problem& problem, const OptionalNoise& noise);

// The arguments of forward and backward.
Problem read_problem(const std::string& cell, const py::array& x, const Layer& layer, const OptionalState& state,
                     const Schedule& schedule, const OptionalArray& term, const OptionalNoise& noise,
                     const Settings& settings);

// A fresh array (T, B) or (T, B, width); zeros where a ragged batch may leave places out.
py::array fresh_sequence(const Problem& problem, std::optional<Index> width);

// Fresh arrays for the states after a call, and where they are.
py::tuple fresh_states(const Problem& problem, void** where);

}  // namespace rnnkernels::binding
