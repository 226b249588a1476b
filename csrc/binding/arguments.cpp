// The checks of arguments.h.
#include "arguments.h"

#include <cstdint>
#include <cstring>

namespace rnnkernels::binding {
namespace {

constexpr Index kMostUnits = Index{1} << 31;

std::string text_of(const Dims& shape) {
    std::string text = "(";
    for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + (shape.size() == 1 ? ",)" : ")");
}

void check_layout(const Place& place, const Array& array, const char* name) {
    if (!in_order(array)) throw py::value_error(std::string(name) + ": expected a C-contiguous, aligned array");
    check_place(place, array, name);
}

void check_presence(const OptionalArray& array, const char* name, bool wanted) {
    if (array.has_value() == wanted) return;
    throw py::value_error(std::string(name) + (wanted ? ": expected one, got none" : ": the cell has none, got one"));
}

void check_tokens(const std::int64_t* tokens, Index count, Index batch, Index limit) {
    for (Index i = 0; i < count; ++i)
        if (tokens[i] < 0 || tokens[i] >= limit)
            throw py::value_error("x: expected tokens in [0, " + std::to_string(limit) + "), got " +
                                  std::to_string(tokens[i]) + " at [" + std::to_string(i / batch) + ", " +
                                  std::to_string(i % batch) + "]");
}

}  // namespace

const char* name_of(Dtype dtype) {
    static constexpr const char* names[] = {"float32", "float64", "bfloat16", "float16"};
    return names[static_cast<int>(dtype)];
}

Dtype find_dtype(const Array& array, const char* name) {
    std::string known;
    for (const Dtype dtype : kDtypes) {
        if (is_dtype(array, dtype)) return dtype;
        known += (known.empty() ? "" : " or ") + std::string(name_of(dtype));
    }
    throw py::type_error(std::string(name) + ": expected dtype " + known + ", got " + dtype_text(array));
}

const void* checked(const Place& place, const Array& array, const char* name, Dtype dtype, const Dims& shape,
                    const char* symbols) {
    if (!is_dtype(array, dtype))
        throw py::type_error(std::string(name) + ": expected dtype " + name_of(dtype) + ", got " + dtype_text(array));
    if (shape_of(array) != shape)
        throw py::value_error(std::string(name) + ": expected shape " + symbols + " = " + text_of(shape) + ", got " +
                              text_of(shape_of(array)));
    check_layout(place, array, name);
    return array.data();
}

const void* checked(const Place& place, const OptionalArray& array, const char* name, Dtype dtype, const Dims& shape,
                    const char* symbols) {
    return array ? checked(place, *array, name, dtype, shape, symbols) : nullptr;
}

int find_cell(const std::string& name) {
    std::string known;
    for (int i = 0; i < backend().cell_count(); ++i) {
        if (name == backend().cell(i).name) return i;
        known += (i ? ", " : "") + std::string(backend().cell(i).name);
    }
    const char* const hint = kDeviceArrays ? "; a cell that was added with passes of its own runs on a CPU only" : "";
    throw py::value_error("cell: expected one of " + known + ", got '" + name + "'" + hint);
}

int find_set(const std::string& name) {
    std::string known;
    for (int i = 0; i < backend().set_count(); ++i) {
        if (name == backend().set_name(i)) return i;
        known += (i ? ", " : "") + std::string(backend().set_name(i));
    }
    throw py::value_error("instruction set: this machine and build have " + known + "; got '" + name + "'");
}

void check_hidden(int cell, Index hidden) {
    const CellInfo& info = backend().cell(cell);
    if (hidden % info.heads != 0)
        throw py::value_error("hidden_size: expected a multiple of " + std::to_string(info.heads) + ", the heads of " +
                              info.name + ", got " + std::to_string(hidden));
}

Problem read_parameters(const Place& place, const std::string& cell, const Layer& layer) {
    const auto& [weight_ih, weight_hh, bias_ih, bias_hh, weight_gg, weight_diagonal, weight_hr] = layer;
    Problem p{place};
    p.in.where = place.where();
    p.cell = find_cell(cell);
    const CellInfo& info = p.info();
    p.dtype = find_dtype(weight_ih, "params['weight_ih']");
    if (weight_hh.ndim() != 2 || weight_hh.shape(1) < 1)
        throw py::value_error("params['weight_hh']: expected shape (G*H, H) with H at least 1, got " +
                              text_of(shape_of(weight_hh)));
    if (weight_ih.ndim() != 2 || weight_ih.shape(1) < 1)
        throw py::value_error("params['weight_ih']: expected shape (G*H, I) with I at least 1, got " +
                              text_of(shape_of(weight_ih)));
    check_presence(weight_hr, "params['weight_hr']", info.projected);
    if (weight_hr && (weight_hr->ndim() != 2 || weight_hr->shape(1) < 1))
        throw py::value_error("params['weight_hr']: expected shape (P, H) with H at least 1, got " +
                              text_of(shape_of(*weight_hr)));
    // The columns of weight_hh are the units of h, but of a cell with heads: its H is what weight_ih has rows for.
    const Index width = info.heads > 1 ? weight_ih.shape(0) / info.input_rows : weight_hh.shape(1);
    const Index input = weight_ih.shape(1);
    const Index hidden = weight_hr ? weight_hr->shape(1) : width;
    if (hidden > kMostUnits ||
        width > kMostUnits)  // an empty array can have any width; products of sizes below must not overflow
        throw py::value_error("params['weight_hh']: expected H at most " + std::to_string(kMostUnits) + ", got " +
                              text_of(shape_of(weight_hh)));
    if (info.heads > 1) check_hidden(p.cell, hidden);
    p.in.shape = {0, 0, input, hidden, info.projected ? width : 0, info.element_count * hidden};
    const Index input_rows = info.input_rows * hidden, hidden_rows = info.hidden_rows * hidden;
    p.in.weight_ih = checked(p.place, weight_ih, "params['weight_ih']", p.dtype, {input_rows, input}, "(G*H, I)");
    p.in.weight_hh = checked(p.place, weight_hh, "params['weight_hh']", p.dtype, {hidden_rows, width / info.heads},
                             info.projected   ? "(G*H, P)"
                             : info.heads > 1 ? "(G*H, H/heads)"
                                              : "(G*H, H)");
    p.in.weight_hr = checked(p.place, weight_hr, "params['weight_hr']", p.dtype, {width, hidden}, "(P, H)");
    p.in.bias_ih = checked(p.place, bias_ih, "params['bias_ih']", p.dtype, {input_rows}, "(G*H,)");
    p.in.bias_hh = checked(p.place, bias_hh, "params['bias_hh']", p.dtype, {hidden_rows}, "(G*H,)");
    check_presence(weight_gg, "params['weight_gg']", info.gate_rows > 0);
    check_presence(weight_diagonal, "params['weight_diagonal']", info.diagonal_count > 0);
    p.in.weight_gg = checked(p.place, weight_gg, "params['weight_gg']", p.dtype,
                             {info.gate_rows * hidden, info.gate_columns * hidden}, "(G*H, F*H)");
    p.in.weight_diagonal = checked(p.place, weight_diagonal, "params['weight_diagonal']", p.dtype,
                                   {info.diagonal_count * hidden}, "(D*H,)");
    if (info.direct && input != hidden)
        throw py::value_error(std::string("params: ") + info.name + " adds x itself to a gate: expected I = H = " +
                              std::to_string(hidden) + ", got I = " + std::to_string(input));
    return p;
}

void check_takes_tokens(const Problem& problem) {
    if (problem.in.shape.elements > 0)
        throw py::type_error(std::string("x: expected vectors, as ") + problem.info().name +
                             " has element-wise inputs, got tokens");
}

void read_x(Problem& problem, const Array& x, bool one_step) {
    const bool tokens = holds_tokens(x);
    if (tokens) check_takes_tokens(problem);
    const char* const width = problem.in.shape.elements > 0 ? "I + E*H" : "I";
    const int time = one_step ? 0 : 1;  // dimensions before B
    if (x.ndim() != time + (tokens ? 1 : 2)) {
        const char* symbols[2][2] = {{"(B, I)", "(T, B, I)"}, {"(B,) of tokens", "(T, B) of tokens"}};
        throw py::value_error(std::string("x: expected shape ") + symbols[tokens][time] + ", got " +
                              text_of(shape_of(x)));
    }
    Shape& s = problem.in.shape;
    s.steps = problem.steps = one_step ? 1 : x.shape(0);
    s.batch = problem.batch = x.shape(time);
    if (tokens) {
        check_layout(problem.place, x, "x");
        problem.in.tokens = static_cast<const std::int64_t*>(x.data());
        // On a GPU a token that there is not gives NaN: to look at it here would be to wait for it.
        if (!kDeviceArrays) check_tokens(problem.in.tokens, s.steps * s.batch, s.batch, s.input);
    } else if (one_step) {
        problem.in.x = checked(problem.place, x, "x", problem.dtype, {s.batch, problem.x_row()},
                               (std::string("(B, ") + width + ")").c_str());
    } else {
        problem.in.x = checked(problem.place, x, "x", problem.dtype, {s.steps, s.batch, problem.x_row()},
                               (std::string("(T, B, ") + width + ")").c_str());
    }
}

void read_state(const Problem& problem, const char* name, const OptionalState& state, const void** to) {
    if (!state) return;
    const CellInfo& info = problem.info();
    if (static_cast<int>(state->size()) != info.state_count)
        throw py::value_error(std::string(name) + ": expected " + std::to_string(info.state_count) + " arrays for " +
                              info.name + ", got " + std::to_string(state->size()));
    for (int i = 0; i < info.state_count; ++i) {
        const std::string part = std::string(name) + "[" + std::to_string(i) + "]";
        to[i] = checked(problem.place, (*state)[static_cast<std::size_t>(i)], part.c_str(), problem.dtype,
                        problem.state_shape(i), problem.width(i) == problem.in.shape.hidden ? "(B, H)" : "(B, P)");
    }
}

void read_schedule(Problem& problem, const Schedule& schedule) {
    if (!schedule) return;
    const auto& [starts, places] = *schedule;
    const bool lists = py::isinstance<py::array_t<std::int64_t, py::array::c_style>>(starts) && starts.ndim() == 1 &&
                       (!places || (holds_tokens(*places) && places->ndim() == 1));
    if (!lists) throw py::type_error("schedule: expected int64 arrays (n,), C-contiguous");
    if (places) check_layout(problem.place, *places, "schedule");
    const Index steps = starts.size() - 1, slots = problem.steps * problem.batch;
    const Index rows = places ? places->size() : slots;
    const auto* start = static_cast<const std::int64_t*>(starts.data());
    const auto* place = places ? static_cast<const std::int64_t*>(places->data()) : nullptr;
    bool right = steps >= 0 && start[0] == 0;
    for (Index t = 0; right && t < steps; ++t) {
        const Index count = start[t + 1] - start[t];
        right = count > 0 && (t == 0 || count <= start[t] - start[t - 1]);
    }
    right = right && start[steps] == rows;
    const bool readable = place && !kDeviceArrays;
    std::vector<bool> seen(readable ? static_cast<std::size_t>(slots) : 0);
    for (Index row = 0; readable && right && row < rows; ++row) {
        right = place[row] >= 0 && place[row] < slots && !seen[static_cast<std::size_t>(place[row])];
        if (right) seen[static_cast<std::size_t>(place[row])] = true;
    }
    if (!right)
        throw py::value_error("schedule: expected steps of 1 or more rows, never more than before, each row once");
    problem.in.starts = start;
    problem.in.places = place;
    problem.in.shape.steps = steps;
    problem.in.shape.batch = steps > 0 ? start[1] : 0;
}

void read_term(Problem& problem, const OptionalArray& term) {
    const Shape& s = problem.in.shape;
    problem.in.term = checked(problem.place, term, "term", problem.dtype,
                              {s.batch, problem.info().input_rows * s.hidden}, "(B, G*H)");
}

void read_settings(Problem& problem, const Settings& settings) {
    if (static_cast<int>(settings.size()) > problem.info().setting_count)
        throw py::value_error(std::string("settings: ") + problem.info().name + " has " +
                              std::to_string(problem.info().setting_count) + ", got " +
                              std::to_string(settings.size()));
    for (std::size_t k = 0; k < settings.size(); ++k) problem.in.settings[k] = settings[k];
}

void read_products(Problem& problem, Products products) {
    if (products == Products::full) return;
    if (kDeviceArrays) throw py::value_error("products: expected full on a GPU, got 'bfloat16'");
    if (problem.dtype != Dtype::float32)
        throw py::type_error("products: bfloat16 needs float32 parameters, got float64");
    problem.in.products = products;
}

void read_noise(Problem& problem, const OptionalNoise& given) {
    if (!given) return;
    const Drawn& drawn = *given;
    const auto is_rate = [](double rate) { return rate >= 0 && rate < 1; };
    bool right = drawn.layer < 1U << 24 && drawn.first_step >= 0 && drawn.batch >= 0 &&
                 (drawn.batch > 0 || problem.rows() == 0) && is_rate(drawn.recurrent) && is_rate(drawn.weights) &&
                 static_cast<int>(drawn.zones.size()) == problem.info().state_count;
    for (const double rate : drawn.zones) right = right && is_rate(rate);
    right = right && !(problem.info().projected && drawn.zones[0] > 0);
    if (!right)
        throw py::value_error(
            "noise: expected a batch, a rate of zoneout for each state and all rates in [0, 1), 0 for a projected h");
    Noise& noise = problem.in.noise;
    if (drawn.places) {
        if (!holds_tokens(*drawn.places) || shape_of(*drawn.places) != Dims{problem.rows()})
            throw py::value_error("noise: expected int64 places, one for each row");
        check_layout(problem.place, *drawn.places, "noise");
        noise.places = static_cast<const std::int64_t*>(drawn.places->data());
    }
    noise.seed = drawn.seed, noise.layer = drawn.layer, noise.expected = drawn.expected;
    noise.per_step = drawn.per_step, noise.first_step = drawn.first_step, noise.batch = drawn.batch;
    noise.recurrent = drawn.recurrent, noise.weights = drawn.weights;
    for (std::size_t k = 0; k < drawn.zones.size(); ++k) {
        noise.zoneout[k] = drawn.zones[k];
        noise.zones = noise.zones || drawn.zones[k] > 0;
    }
}

Array fresh_sequence(const Problem& problem, std::optional<Index> width) {
    Dims shape{problem.steps, problem.batch};
    if (width) shape.push_back(*width);
    const bool whole = !problem.in.starts || problem.rows() == problem.steps * problem.batch;
    return whole ? fresh(problem.place, problem.dtype, shape) : fresh_zeros(problem.place, problem.dtype, shape);
}

Problem read_problem(const Place& place, const std::string& cell, const Array& x, const Layer& layer,
                     const OptionalState& state, const Schedule& schedule, const OptionalArray& term,
                     const OptionalNoise& noise, const Settings& settings) {
    Problem p = read_parameters(place, cell, layer);
    read_given(p, x, state, schedule, term, noise, settings);
    return p;
}

void read_given(Problem& p, const Array& x, const OptionalState& state, const Schedule& schedule,
                const OptionalArray& term, const OptionalNoise& noise, const Settings& settings) {
    read_x(p, x);
    read_schedule(p, schedule);
    read_term(p, term);
    read_noise(p, noise);
    read_settings(p, settings);
    read_state(p, "state", state, p.in.state);
}

py::tuple fresh_states(const Problem& problem, void** where) {
    py::tuple states(problem.info().state_count);
    for (int i = 0; i < problem.info().state_count; ++i) {
        Array array = fresh(problem.place, problem.dtype, problem.state_shape(i));
        where[i] = array.mutable_data();
        states[static_cast<std::size_t>(i)] = std::move(array);
    }
    return states;
}

}  // namespace rnnkernels::binding
