// forward, backward and what both need, for the arrays of one backend (array.h): arrays in, arrays out.
//
// Checks are in arguments.h. Names, conversions and defaults are the Python layer's (python/rnnkernels/functional.py).
// The GIL is released while kernels run, or are put into a stream.
#include "calls.h"

#include <cstddef>
#include <memory>
#include <new>
#include <tuple>
#include <utility>

#include "attention.h"
#include "watched.h"
#if defined(RNNKERNELS_DEVICE_ARRAYS)
#include "gathered.h"
#endif

namespace rnnkernels::binding {
namespace {

// Bytes of the queries of an attending recurrence with A units, which stand behind a reserve: (rows, query_row(A)), in
// the dtype of the arithmetic.
Index query_bytes(Dtype dtype, Index size) { return query_row(size) * (dtype == Dtype::float64 ? 8 : 4); }

Index reserve_bytes(int set, const Problem& p) {
    Index bytes = 0;
    if (__builtin_mul_overflow(backend().reserve_size(set, p.cell, p.dtype, p.in.shape.hidden, p.in.noise.zones),
                               p.rows(), &bytes))
        throw std::bad_alloc();
    if (p.in.attention) bytes += kBehindReserve + p.rows() * query_bytes(p.dtype, p.in.attention->size);
    return bytes;
}

// The arguments of an attending recurrence, or of one that does not attend.
Problem read_problem(const Place& place, const std::string& cell, const Array& x, const Layer& layer,
                     const OptionalState& state, const Schedule& schedule, const OptionalArray& term,
                     const OptionalNoise& noise, const Settings& settings, const OptionalAttention& attention,
                     Attention& attends) {
    Problem p = read_parameters(place, cell, layer);
    read_attention(p, attention, attends);
    read_given(p, x, state, schedule, term, noise, settings);
    if (attention) check_attention(p, *attention, attends);
    return p;
}

// Scratch memory that a backend wants from its caller, for as long as this lives.
class Workspace {
public:
    Workspace(const Place& place, Index bytes, Where& where) {
        if (bytes == 0) return;
        memory_.take(place, 0, bytes);
        where.workspace = memory_.data();
        where.workspace_bytes = bytes;
    }

private:
    Reserve memory_;
};

// A forward call and the fresh arrays it will fill.
struct Outputs {
    ForwardCall call{};
    std::optional<Array> output;
    py::tuple final_state;
    py::object reserve = py::none();
    py::object sequence = py::none();  // of the states after h, where they are wanted
    py::object attended;               // where the recurrence attends
    py::tuple results() const {
        if (attended) return py::make_tuple(*output, final_state, reserve, sequence, attended);
        return py::make_tuple(*output, final_state, reserve, sequence);
    }
};

// Whether the call was gathered to be put with others, where the place does that; what it reads is kept.
template <class Place, class Call, class... Kept>
bool gather(const Place& place, int set, const Problem& p, const Call& call, const Kept&... kept) {
    if constexpr (requires { place.gathered(); })
        if (auto* const gathered = place.gathered()) {
            gathered->add(set, p.cell, p.dtype, call, kept...);
            return true;
        }
    return false;
}

Outputs make_outputs(const Problem& p, int set, bool training, bool all_states) {
    Outputs made;
    made.call.in = p.in;
    made.output = fresh_sequence(p, p.width(0));
    made.call.output = made.output->mutable_data();
    made.final_state = fresh_states(p, made.call.final_state);
    if (training) {
        const Index bytes = reserve_bytes(set, p);
        Reserve& kept = make_owned<Reserve>(made.reserve);
        kept.take(p.place, set, bytes);
        made.call.reserve = kept.data();
    }
    if (all_states) {
        py::list sequence;
        for (int k = 1; k < p.info().state_count; ++k) {
            Array array = fresh_sequence(p, p.in.shape.hidden);
            made.call.sequence[k] = array.mutable_data();
            sequence.append(array);
        }
        made.sequence = py::tuple(sequence);
    }
    if (p.in.attention) made.attended = fresh_attended(p, made.call.attended);
    return made;
}

py::tuple forward(const Place& place, const std::string& cell, const Array& x, const Layer& layer,
                  const OptionalState& state, bool training, const Schedule& schedule, const OptionalArray& term,
                  const OptionalNoise& noise, bool all_states, const Settings& settings,
                  const OptionalAttention& attention, Products products) {
    Attention attends{};
    Problem p = read_problem(place, cell, x, layer, state, schedule, term, noise, settings, attention, attends);
    read_products(p, products);
    const int set = backend().current_set();
    Outputs made = make_outputs(p, set, training, all_states);
    const auto workspace = std::make_shared<Workspace>(place, backend().forward_bytes(set, p.cell, p.dtype, made.call),
                                                       made.call.in.where);
    if (gather(place, set, p, made.call, x, layer, state, schedule, term, noise, workspace, made.results()))
        return made.results();
    Watched watched(p.in);
    made.call.in.watch = watched.watch();
    watched.run([&] { backend().forward(set, p.cell, p.dtype, made.call); });
    return made.results();
}

py::list forward_layers(const Place& place, const std::string& cell, const Array& x, const std::vector<Layer>& layers,
                        const std::vector<OptionalState>& states, bool training,
                        const std::vector<OptionalNoise>& noises, const Settings& settings, Products products) {
    if (layers.empty() || states.size() != layers.size() || noises.size() != layers.size())
        throw py::value_error("layers: expected at least one, and as many states and noises");
    const int set = backend().current_set();
    std::vector<ForwardCall> calls;
    std::vector<std::unique_ptr<Workspace>> workspaces;
    py::list results;
    Array input = x;
    int number = 0;
    Dtype dtype = Dtype::float32;
    for (std::size_t i = 0; i < layers.size(); ++i) {
        Problem p =
            read_problem(place, cell, input, layers[i], states[i], std::nullopt, std::nullopt, noises[i], settings);
        read_products(p, products);
        if (i > 0 && (p.dtype != dtype || p.in.shape.hidden != calls[0].in.shape.hidden))
            throw py::value_error("layers: expected all of one dtype and one H");
        number = p.cell;
        dtype = p.dtype;
        Outputs made = make_outputs(p, set, training, false);
        input = *made.output;
        workspaces.push_back(std::make_unique<Workspace>(
            place, backend().forward_bytes(set, p.cell, p.dtype, made.call), made.call.in.where));
        calls.push_back(made.call);
        results.append(made.results());
    }
    Watched watched(calls[0].in, calls.size());
    for (ForwardCall& call : calls) call.in.watch = watched.watch();
    watched.run([&] { backend().forward_layers(set, number, dtype, calls.data(), static_cast<int>(calls.size())); });
    return results;
}

py::tuple backward(const Place& place, const std::string& cell, const Array& x, const Layer& layer,
                   const OptionalState& state, const Array& output, const Reserve& reserve,
                   const OptionalArray& d_output, const OptionalState& d_state, bool need_dx, const Schedule& schedule,
                   const OptionalArray& term, const OptionalNoise& noise, const std::vector<OptionalArray>& d_sequence,
                   bool norms, const Settings& settings, const OptionalAttention& attention,
                   const std::optional<AttendedRecord>& attended, const AttendedGradient& d_attended,
                   Products products) {
    Attention attends{};
    Problem p = read_problem(place, cell, x, layer, state, schedule, term, noise, settings, attention, attends);
    read_products(p, products);
    BackwardCall call{};
    call.in = p.in;
    const Dims of_h = p.sequence_shape(0);
    call.output = checked(place, output, "output", p.dtype, of_h, "(T, B, H)");
    call.d_output = checked(place, d_output, "d_output", p.dtype, of_h, "(T, B, H)");
    const auto extra = static_cast<std::size_t>(p.info().state_count - 1);
    if (!d_sequence.empty() && d_sequence.size() != extra)
        throw py::value_error("d_states: expected as many as the cell has states after h");
    for (std::size_t k = 0; k < d_sequence.size(); ++k)
        call.d_sequence[k + 1] = checked(place, d_sequence[k], "d_states", p.dtype, p.sequence_shape(1), "(T, B, H)");
    if (reserve.bytes() != static_cast<std::size_t>(reserve_bytes(reserve.set(), p)))
        throw py::value_error("reserve: expected the one of this forward, got one of another size");
    call.reserve = reserve.data();
    read_state(p, "d_state", d_state, call.d_final_state);
    const auto give = [&](void*& where, const Dims& shape) {
        Array array = fresh(place, p.dtype, shape);
        where = array.mutable_data();
        return array;
    };
    const auto give_like = [&](void*& where, const OptionalArray& like) -> py::object {
        if (!like) return py::none();
        return as_object(give(where, shape_of(*like)));
    };
    py::object dx = py::none();
    if (!holds_tokens(x) && need_dx) {
        Array array = fresh_sequence(p, p.x_row());
        call.dx = array.mutable_data();
        dx = as_object(std::move(array));
    }
    const py::tuple d_layer = py::make_tuple(
        give(call.dweight_ih, shape_of(layer.weight_ih)), give(call.dweight_hh, shape_of(layer.weight_hh)),
        give_like(call.dbias_ih, layer.bias_ih), give_like(call.dbias_hh, layer.bias_hh),
        give_like(call.dweight_gg, layer.weight_gg), give_like(call.dweight_diagonal, layer.weight_diagonal),
        give_like(call.dweight_hr, layer.weight_hr));
    const py::object dterm = give_like(call.dterm, term);
    const py::tuple d_initial = fresh_states(p, call.d_state);
    py::list readings;
    for (int k = 0; norms && k < p.info().state_count; ++k) {
        Array array = fresh_sequence(p, std::nullopt);
        call.norms[k] = array.mutable_data();
        readings.append(array);
    }
    py::object attention_gradients;
    if (attention) {
        if (!attended) throw py::value_error("attended: expected what the forward found, got none");
        read_attended(p, *attended, call.attended);
        attention_gradients = fresh_gradients(p, *attention, d_attended, call.d_attended);
    }
    const auto workspace = std::make_shared<Workspace>(
        place, backend().backward_bytes(reserve.set(), p.cell, p.dtype, call), call.in.where);
    const py::tuple found = py::make_tuple(dx, d_layer, d_initial, dterm, py::tuple(readings));
    if (gather(place, reserve.set(), p, call, x, layer, state, schedule, term, noise, output, reserve, d_output,
               d_state, d_sequence, workspace, found))
        return found;
    Watched watched(p.in);
    call.in.watch = watched.watch();
    watched.run([&] { backend().backward(reserve.set(), p.cell, p.dtype, call); });
    if (attention) return py::make_tuple(dx, d_layer, d_initial, dterm, py::tuple(readings), attention_gradients);
    return found;
}

py::list cells() {
    py::list list;
    for (int i = 0; i < backend().cell_count(); ++i) {
        const CellInfo& info = backend().cell(i);
        py::tuple states(info.state_count), zoned(info.state_count), positive(info.state_count);
        py::tuple gates(info.gate_count), merged(info.gate_count), sigmoid(info.gate_count);
        for (int k = 0; k < info.state_count; ++k) {
            const auto at = static_cast<std::size_t>(k);
            states[at] = info.states[k], zoned[at] = info.zoned[k], positive[at] = info.positive[k];
        }
        for (int k = 0; k < info.gate_count; ++k) {
            const auto at = static_cast<std::size_t>(k);
            gates[at] = py::make_tuple(info.gates[k].name, info.gates[k].input, info.gates[k].operand);
            merged[at] = info.gates[k].merged;
            sigmoid[at] = info.gates[k].sigmoid;
        }
        py::dict cell;
        cell["name"] = info.name;
        cell["states"] = states;
        cell["zoned"] = zoned;
        cell["positive"] = positive;
        cell["gates"] = gates;
        cell["merged"] = merged;
        cell["sigmoid"] = sigmoid;
        py::tuple diagonals(info.diagonal_count), initial(info.diagonal_count);
        for (int k = 0; k < info.diagonal_count; ++k) {
            diagonals[static_cast<std::size_t>(k)] = info.diagonals[k].name;
            initial[static_cast<std::size_t>(k)] = info.diagonals[k].initial;
        }
        cell["diagonals"] = diagonals;
        py::tuple settings(info.setting_count);
        for (int k = 0; k < info.setting_count; ++k) settings[static_cast<std::size_t>(k)] = info.settings[k];
        cell["settings"] = settings;
        py::tuple elements(info.element_count);
        for (int k = 0; k < info.element_count; ++k) elements[static_cast<std::size_t>(k)] = info.elements[k];
        cell["elements"] = elements;
        cell["projected"] = info.projected;
        cell["initial"] = initial;
        cell["normalisation"] = info.normalisation;
        cell["direct"] = info.direct;
        cell["rows"] = py::make_tuple(info.input_rows, info.hidden_rows, info.gate_rows, info.gate_columns);
        cell["heads"] = info.heads;
        list.append(cell);
    }
    return list;
}

// Bytes of reserve per row of a step.
Index reserve_size(const std::string& cell, Index hidden, const std::string& dtype, bool zones) {
    if (hidden < 1) throw py::value_error("hidden: expected at least 1, got " + std::to_string(hidden));
    const int number = find_cell(cell);
    check_hidden(number, hidden);
    return backend().reserve_size(backend().current_set(), number, read_dtype(dtype), hidden, zones);
}

// Of an attending recurrence with A units: bytes per row of a step, and behind all of them.
py::tuple attending_reserve_size(const std::string& cell, Index hidden, const std::string& dtype, bool zones,
                                 Index size) {
    if (size < 1) throw py::value_error("size: expected at least 1, got " + std::to_string(size));
    return py::make_tuple(reserve_size(cell, hidden, dtype, zones) + query_bytes(read_dtype(dtype), size),
                          kBehindReserve);
}

// A function of the module: of a call's place and its arguments, or of these alone where there is one place only.
template <class Result, class... Arguments, class... Names>
void define(py::module_& m, const char* name, Result (*function)(const Place&, Arguments...), const Names&... names) {
    if constexpr (kDeviceArrays)
        m.def(name, function, py::arg("place"), names...);
    else
        m.def(
            name,
            [function](Arguments... arguments) { return function(Place{}, std::forward<Arguments>(arguments)...); },
            names...);
}

}  // namespace

Dtype read_dtype(const std::string& name) {
    std::string known;
    for (const Dtype dtype : kDtypes) {
        if (name == name_of(dtype)) return dtype;
        known += (known.empty() ? "" : " or ") + std::string(name_of(dtype));
    }
    throw py::value_error("dtype: expected " + known + ", got '" + name + "'");
}

py::list set_names() {
    py::list names;
    for (int i = 0; i < backend().set_count(); ++i) names.append(backend().set_name(i));
    return names;
}

void bind_calls(py::module_& m) {
    m.def("cells", &cells);
    define(m, "forward", &forward, py::arg("cell"), py::arg("x"), py::arg("layer"), py::arg("state").none(true),
           py::arg("training"), py::arg("schedule") = std::nullopt, py::arg("term") = std::nullopt,
           py::arg("noise") = std::nullopt, py::arg("all_states") = false, py::arg("settings") = Settings{},
           py::arg("attention") = std::nullopt, py::arg("products") = Products::full);
    define(m, "forward_layers", &forward_layers, py::arg("cell"), py::arg("x"), py::arg("layers"), py::arg("states"),
           py::arg("training"), py::arg("noises"), py::arg("settings") = Settings{},
           py::arg("products") = Products::full);
    define(m, "backward", &backward, py::arg("cell"), py::arg("x"), py::arg("layer"), py::arg("state").none(true),
           py::arg("output"), py::arg("reserve"), py::arg("d_output").none(true), py::arg("d_state").none(true),
           py::arg("need_dx") = true, py::arg("schedule") = std::nullopt, py::arg("term") = std::nullopt,
           py::arg("noise") = std::nullopt, py::arg("d_sequence") = std::vector<OptionalArray>{},
           py::arg("norms") = false, py::arg("settings") = Settings{}, py::arg("attention") = std::nullopt,
           py::arg("attended") = std::nullopt, py::arg("d_attended") = std::nullopt,
           py::arg("products") = Products::full);
    m.def("reserve_size", &reserve_size, py::arg("cell"), py::arg("hidden"), py::arg("dtype"),
          py::arg("zones") = false);
    m.def("attending_reserve_size", &attending_reserve_size, py::arg("cell"), py::arg("hidden"), py::arg("dtype"),
          py::arg("zones"), py::arg("size"));
    m.def("set_poison", [](bool poison) { backend().set_poison(poison); }, py::arg("poison"));
}

}  // namespace rnnkernels::binding
