// What comes from Python, checked: dtype, layout, every shape, every token, so that no call can reach memory it
// should not. Every error names the argument, what was expected and what came.
#pragma once

#include "records.h"

namespace rnnkernels::binding {

using OptionalState = std::optional<std::vector<Array>>;

// A cell's settings, in its order; infinite: off.
using Settings = std::vector<double>;

// None: a dense batch.
using Schedule = std::optional<RaggedRows>;

// None: nothing is random.
using OptionalNoise = std::optional<Drawn>;

// One of kDtypes.
Dtype find_dtype(const Array& array, const char* name);

// The array's data, once it is known to be what the kernels expect. `symbols` describes the shape.
const void* checked(const Place& place, const Array& array, const char* name, Dtype dtype, const Dims& shape,
                    const char* symbols);
const void* checked(const Place& place, const OptionalArray& array, const char* name, Dtype dtype, const Dims& shape,
                    const char* symbols);

int find_cell(const std::string& name);
int find_set(const std::string& name);

// A layer and what it is given, as a backend reads it. The readers below fill it part by part.
struct Problem {
    Place place{};
    int cell = 0;
    Dtype dtype = Dtype::float32;
    Inputs in{};
    Index steps = 0, batch = 0;  // of the sequence arrays; of a ragged batch in.shape has others

    // Rows of all steps.
    Index rows() const { return in.starts ? in.starts[in.shape.steps] : in.shape.steps * in.shape.batch; }
    const CellInfo& info() const { return backend().cell(cell); }
    // Numbers of a row of x.
    Index x_row() const { return in.shape.input + in.shape.elements; }
    // Units of a state: of h, where it is projected, others than of the rest.
    Index width(int state) const { return state == 0 && info().projected ? in.shape.projection : in.shape.hidden; }
    Dims sequence_shape(int state) const { return {steps, batch, width(state)}; }
    Dims state_shape(int state) const { return {in.shape.batch, width(state)}; }
};

// The cell, the dtype, I, H and the parameters.
Problem read_parameters(const Place& place, const std::string& cell, const Layer& layer);
// That x may be tokens: those have nothing behind them for a cell with element-wise inputs.
void check_takes_tokens(const Problem& problem);
// T, B and x: vectors or tokens. One step: x is (B, I) or (B,), and T is 1.
void read_x(Problem& problem, const Array& x, bool one_step = false);
// One array per state of the cell, each (B, H) or (B, P), into `to`.
void read_state(const Problem& problem, const char* name, const OptionalState& state, const void** to);

// T and B of a ragged batch in the place of x's.
void read_schedule(Problem& problem, const Schedule& schedule);

// What is added in every step, (B, Gx*H).
void read_term(Problem& problem, const OptionalArray& term);

void read_settings(Problem& problem, const Settings& settings);

// How products are made; the dtype is known.
void read_products(Problem& problem, Products products);

// What is random in a call; x has been read.
void read_noise(Problem& problem, const OptionalNoise& noise);

// What a layer is given, once its parameters have been read.
void read_given(Problem& problem, const Array& x, const OptionalState& state, const Schedule& schedule,
                const OptionalArray& term, const OptionalNoise& noise, const Settings& settings);

// The arguments of forward and backward.
Problem read_problem(const Place& place, const std::string& cell, const Array& x, const Layer& layer,
                     const OptionalState& state, const Schedule& schedule, const OptionalArray& term,
                     const OptionalNoise& noise, const Settings& settings);

// A fresh array (T, B) or (T, B, width); zeros where a ragged batch may leave places out.
Array fresh_sequence(const Problem& problem, std::optional<Index> width);

// Fresh arrays for the states after a call, and where they are.
py::tuple fresh_states(const Problem& problem, void** where);

}  // namespace rnnkernels::binding
