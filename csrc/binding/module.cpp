// The Python module of one backend (_cpu): arrays in, arrays out. Built once per backend.
//
// Checks are in arguments.h, layers with packed weights in prepared.cpp. Names, conversions and defaults are the
// Python layer's (python/rnnkernels/functional.py). The GIL is released while kernels run.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <new>
#include <tuple>
#include <utility>

#include "prepared.h"
#include "xla_ffi.h"

namespace rnnkernels::binding {
namespace {

// What a forward kept for its backward: in memory of its own or, made again from its bytes, in an array's. Its layout
// is the instruction set's, whose number stands behind it.
class Reserve {
public:
    Reserve(int set, Index bytes)
        : set_(set), bytes_(static_cast<std::size_t>(bytes)), memory_(backend().take_memory(bytes_ + kBehind)) {
        if (backend().poison()) std::memset(memory_, 0xff, bytes_);
        std::memset(end(), 0, kBehind);
        std::memcpy(end(), &set_, sizeof set_);
    }
    explicit Reserve(py::array bytes) : owner_(std::move(bytes)) {
        auto array = py::reinterpret_borrow<py::array>(owner_);
        constexpr int wanted = static_cast<int>(py::array::c_style) | py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
        if (array.ndim() != 1 || !array.dtype().is(py::dtype::of<std::uint8_t>()) || (array.flags() & wanted) != wanted)
            throw py::type_error("reserve: expected a writeable, contiguous array of uint8 (n,)");
        if (static_cast<std::size_t>(array.size()) < kBehind)
            throw py::value_error("reserve: expected at least " + std::to_string(kBehind) + " bytes, got " +
                                  std::to_string(array.size()));
        memory_ = array.mutable_data();
        if (reinterpret_cast<std::uintptr_t>(memory_) % kBehind != 0)
            throw py::value_error("reserve: expected memory aligned to " + std::to_string(kBehind) + " bytes");
        bytes_ = static_cast<std::size_t>(array.size()) - kBehind;
        std::memcpy(&set_, end(), sizeof set_);
        if (set_ < 0 || set_ >= backend().set_count())
            throw py::value_error("reserve: expected the bytes of one that forward gave");
    }
    ~Reserve() {
        if (!owner_) backend().give_memory(memory_, bytes_ + kBehind);
    }
    Reserve(const Reserve&) = delete;
    Reserve& operator=(const Reserve&) = delete;

    int set() const { return set_; }
    std::size_t bytes() const { return bytes_; }
    void* data() { return memory_; }
    const void* data() const { return memory_; }
    py::buffer_info buffer() const {
        return {static_cast<std::uint8_t*>(memory_), static_cast<py::ssize_t>(bytes_ + kBehind)};
    }

private:
    static constexpr std::size_t kBehind = 64;  // bytes behind it; also its alignment
    std::byte* end() const { return static_cast<std::byte*>(memory_) + bytes_; }

    int set_ = 0;
    std::size_t bytes_ = 0;
    void* memory_ = nullptr;
    py::object owner_;
};

Index reserve_bytes(int set, const Problem& p) {
    Index bytes = 0;
    if (__builtin_mul_overflow(backend().reserve_size(set, p.cell, p.dtype, p.in.shape.hidden, p.in.noise.zones),
                               p.rows(), &bytes))
        throw std::bad_alloc();
    return bytes;
}

// A forward call and the fresh arrays it will fill.
struct Outputs {
    ForwardCall call{};
    py::array output;
    py::tuple final_state;
    py::object reserve = py::none();
    py::object sequence = py::none();  // of the states after h, where they are wanted
    py::tuple results() const { return py::make_tuple(output, final_state, reserve, sequence); }
};

Outputs make_outputs(const Problem& p, int set, bool training, bool all_states) {
    Outputs made;
    made.call.in = p.in;
    made.output = fresh_sequence(p, p.width(0));
    made.call.output = made.output.mutable_data();
    made.final_state = fresh_states(p, made.call.final_state);
    if (training) {
        auto kept = std::make_unique<Reserve>(set, reserve_bytes(set, p));
        made.call.reserve = kept->data();
        made.reserve = py::cast(std::move(kept));
    }
    if (all_states) {
        py::list sequence;
        for (int k = 1; k < p.info().state_count; ++k) {
            py::array array = fresh_sequence(p, p.in.shape.hidden);
            made.call.sequence[k] = array.mutable_data();
            sequence.append(array);
        }
        made.sequence = py::tuple(sequence);
    }
    return made;
}

py::tuple forward(const std::string& cell, const py::array& x, const Layer& layer, const OptionalState& state,
                  bool training, const Schedule& schedule, const OptionalArray& term, const OptionalNoise& noise,
                  bool all_states, const Settings& settings) {
    const Problem p = read_problem(cell, x, layer, state, schedule, term, noise, settings);
    const int set = backend().current_set();
    const Outputs made = make_outputs(p, set, training, all_states);
    {
        const py::gil_scoped_release released;
        backend().forward(set, p.cell, p.dtype, made.call);
    }
    return made.results();
}

py::list forward_layers(const std::string& cell, const py::array& x, const std::vector<Layer>& layers,
                        const std::vector<OptionalState>& states, bool training,
                        const std::vector<OptionalNoise>& noises, const Settings& settings) {
    if (layers.empty() || states.size() != layers.size() || noises.size() != layers.size())
        throw py::value_error("layers: expected at least one, and as many states and noises");
    const int set = backend().current_set();
    std::vector<ForwardCall> calls;
    py::list results;
    py::array input = x;
    int number = 0;
    Dtype dtype = Dtype::float32;
    for (std::size_t i = 0; i < layers.size(); ++i) {
        const Problem p =
            read_problem(cell, input, layers[i], states[i], std::nullopt, std::nullopt, noises[i], settings);
        if (i > 0 && (p.dtype != dtype || p.in.shape.hidden != calls[0].in.shape.hidden))
            throw py::value_error("layers: expected all of one dtype and one H");
        number = p.cell;
        dtype = p.dtype;
        const Outputs made = make_outputs(p, set, training, false);
        input = made.output;
        calls.push_back(made.call);
        results.append(made.results());
    }
    {
        const py::gil_scoped_release released;
        backend().forward_layers(set, number, dtype, calls.data(), static_cast<int>(calls.size()));
    }
    return results;
}

py::tuple backward(const std::string& cell, const py::array& x, const Layer& layer, const OptionalState& state,
                   const py::array& output, const Reserve& reserve, const OptionalArray& d_output,
                   const OptionalState& d_state, bool need_dx, const Schedule& schedule, const OptionalArray& term,
                   const OptionalNoise& noise, const std::vector<OptionalArray>& d_sequence, bool norms,
                   const Settings& settings) {
    const Problem p = read_problem(cell, x, layer, state, schedule, term, noise, settings);
    BackwardCall call{};
    call.in = p.in;
    const Dims of_h = p.sequence_shape(0);
    call.output = checked(output, "output", p.dtype, of_h, "(T, B, H)");
    call.d_output = checked(d_output, "d_output", p.dtype, of_h, "(T, B, H)");
    const auto extra = static_cast<std::size_t>(p.info().state_count - 1);
    if (!d_sequence.empty() && d_sequence.size() != extra)
        throw py::value_error("d_states: expected as many as the cell has states after h");
    for (std::size_t k = 0; k < d_sequence.size(); ++k)
        call.d_sequence[k + 1] = checked(d_sequence[k], "d_states", p.dtype, p.sequence_shape(1), "(T, B, H)");
    if (reserve.bytes() != static_cast<std::size_t>(reserve_bytes(reserve.set(), p)))
        throw py::value_error("reserve: expected the one of this forward, got one of another size");
    call.reserve = reserve.data();
    read_state(p, "d_state", d_state, call.d_final_state);
    const auto give = [&](void*& where, const Dims& shape) {
        py::array array = fresh(p.dtype, shape);
        where = array.mutable_data();
        return array;
    };
    const auto give_like = [&](void*& where, const OptionalArray& like) -> py::object {
        if (!like) return py::none();
        return give(where, shape_of(*like));
    };
    py::object dx = py::none();
    if (p.in.x && need_dx) {
        py::array array = fresh_sequence(p, p.in.shape.input);
        call.dx = array.mutable_data();
        dx = array;
    }
    const auto& [weight_ih, weight_hh, bias_ih, bias_hh, weight_gg, weight_diagonal, weight_hr] = layer;
    const py::tuple d_layer = py::make_tuple(
        give(call.dweight_ih, shape_of(weight_ih)), give(call.dweight_hh, shape_of(weight_hh)),
        give_like(call.dbias_ih, bias_ih), give_like(call.dbias_hh, bias_hh), give_like(call.dweight_gg, weight_gg),
        give_like(call.dweight_diagonal, weight_diagonal), give_like(call.dweight_hr, weight_hr));
    const py::object dterm = give_like(call.dterm, term);
    const py::tuple d_initial = fresh_states(p, call.d_state);
    py::list readings;
    for (int k = 0; norms && k < p.info().state_count; ++k) {
        py::array array = fresh_sequence(p, std::nullopt);
        call.norms[k] = array.mutable_data();
        readings.append(array);
    }
    {
        const py::gil_scoped_release released;
        backend().backward(reserve.set(), p.cell, p.dtype, call);
    }
    return py::make_tuple(dx, d_layer, d_initial, dterm, py::tuple(readings));
}

py::list cells() {
    py::list list;
    for (int i = 0; i < backend().cell_count(); ++i) {
        const CellInfo& info = backend().cell(i);
        py::tuple states(info.state_count), gates(info.gate_count);
        for (int k = 0; k < info.state_count; ++k) states[static_cast<std::size_t>(k)] = info.states[k];
        for (int k = 0; k < info.gate_count; ++k)
            gates[static_cast<std::size_t>(k)] =
                py::make_tuple(info.gates[k].name, info.gates[k].input, info.gates[k].operand);
        py::dict cell;
        cell["name"] = info.name;
        cell["states"] = states;
        cell["gates"] = gates;
        py::tuple diagonals(info.diagonal_count), initial(info.diagonal_count);
        for (int k = 0; k < info.diagonal_count; ++k) {
            diagonals[static_cast<std::size_t>(k)] = info.diagonals[k].name;
            initial[static_cast<std::size_t>(k)] = info.diagonals[k].initial;
        }
        cell["diagonals"] = diagonals;
        py::tuple settings(info.setting_count);
        for (int k = 0; k < info.setting_count; ++k) settings[static_cast<std::size_t>(k)] = info.settings[k];
        cell["settings"] = settings;
        cell["projected"] = info.projected;
        cell["initial"] = initial;
        cell["normalisation"] = info.normalisation;
        cell["direct"] = info.direct;
        cell["rows"] = py::make_tuple(info.input_rows, info.hidden_rows, info.gate_rows, info.gate_columns);
        list.append(cell);
    }
    return list;
}

py::array evaluate(const std::string& function, const py::array& x) {
    static constexpr const char* names[] = {"exp", "sigmoid", "tanh", "log_sigmoid"};
    const auto* found = std::find(std::begin(names), std::end(names), function);
    if (found == std::end(names))
        throw py::value_error("function: expected exp, sigmoid, tanh or log_sigmoid, got '" + function + "'");
    const int number = static_cast<int>(found - std::begin(names));
    const Dtype dtype = is_dtype(x, Dtype::float64) ? Dtype::float64 : Dtype::float32;
    const void* data = checked(x, "x", dtype, shape_of(x), "any");
    py::array out = fresh(dtype, shape_of(x));
    backend().evaluate(backend().current_set(), number, dtype, data, out.mutable_data(), x.size());
    return out;
}

Dtype read_dtype(const std::string& name) {
    if (name == "float32") return Dtype::float32;
    if (name == "float64") return Dtype::float64;
    throw py::value_error("dtype: expected float32 or float64, got '" + name + "'");
}

// Bytes of reserve per row of a step.
Index reserve_size(const std::string& cell, Index hidden, const std::string& dtype, bool zoneout) {
    if (hidden < 1) throw py::value_error("hidden: expected at least 1, got " + std::to_string(hidden));
    return backend().reserve_size(backend().current_set(), find_cell(cell), read_dtype(dtype), hidden, zoneout);
}

// A copy of a matrix with some elements dropped; see ElementDropout.
py::array drop(const py::array& x, double rate, std::uint64_t seed, std::uint32_t layer) {
    if (!(rate >= 0 && rate < 1))
        throw py::value_error("rate: expected a number in [0, 1), got " + std::to_string(rate));
    if (x.ndim() < 1) throw py::value_error("x: expected at least one dimension, got none");
    const Dtype dtype = is_dtype(x, Dtype::float64) ? Dtype::float64 : Dtype::float32;
    ElementDropout call{};
    call.from = checked(x, "x", dtype, shape_of(x), "any");
    py::array out = fresh(dtype, shape_of(x));
    call.to = out.mutable_data();
    call.columns = x.shape(x.ndim() - 1);
    call.rows = call.columns > 0 ? x.size() / call.columns : 0;
    call.rate = rate, call.seed = seed, call.layer = layer;
    {
        const py::gil_scoped_release released;
        backend().drop(backend().current_set(), dtype, call);
    }
    return out;
}

py::dict plan(const std::string& cell, Index steps, Index batch, Index input, Index hidden, const std::string& dtype,
              int threads) {
    if (steps < 0 || batch < 0 || input < 1 || hidden < 1 || threads < 1)
        throw py::value_error("plan: expected T, B >= 0 and I, H, threads >= 1");
    const PlanInfo info = backend().plan(backend().current_set(), find_cell(cell), read_dtype(dtype),
                                         {steps, batch, input, hidden, hidden}, threads);
    py::dict out;
    out["threads"] = info.threads;
    out["row_groups"] = info.row_groups;
    out["unit_groups"] = info.unit_groups;
    out["forward_chunk"] = info.forward_chunk;
    out["backward_chunk"] = info.backward_chunk;
    return out;
}

}  // namespace
}  // namespace rnnkernels::binding

PYBIND11_MODULE(RNNKERNELS_MODULE, m) {
    using namespace rnnkernels::binding;
    using rnnkernels::backend;
    m.doc() = "rnnkernels' kernels on one backend. Use the rnnkernels package; this module may change.";
    py::class_<Reserve>(m, "Reserve", py::buffer_protocol(), "What a training forward keeps for its backward; opaque.")
        .def(py::init<py::array>(), py::arg("bytes"))
        .def_buffer(&Reserve::buffer)
        .def_property_readonly("nbytes", &Reserve::bytes);
    m.def("cells", &cells);
    m.def("forward", &forward, py::arg("cell"), py::arg("x"), py::arg("layer"), py::arg("state").none(true),
          py::arg("training"), py::arg("schedule") = std::nullopt, py::arg("term") = std::nullopt,
          py::arg("noise") = std::nullopt, py::arg("all_states") = false, py::arg("settings") = Settings{});
    m.def("forward_layers", &forward_layers, py::arg("cell"), py::arg("x"), py::arg("layers"), py::arg("states"),
          py::arg("training"), py::arg("noises"), py::arg("settings") = Settings{});
    m.def("backward", &backward, py::arg("cell"), py::arg("x"), py::arg("layer"), py::arg("state").none(true),
          py::arg("output"), py::arg("reserve"), py::arg("d_output").none(true), py::arg("d_state").none(true),
          py::arg("need_dx") = true, py::arg("schedule") = std::nullopt, py::arg("term") = std::nullopt,
          py::arg("noise") = std::nullopt, py::arg("d_sequence") = std::vector<OptionalArray>{},
          py::arg("norms") = false, py::arg("settings") = Settings{});
    m.def("drop", &drop, py::arg("x"), py::arg("rate"), py::arg("seed"), py::arg("layer"));
    bind_prepared(m);
    bind_xla_ffi(m);
    m.def("instruction_sets", [] {
        py::list names;
        for (int i = 0; i < backend().set_count(); ++i) names.append(backend().set_name(i));
        return names;
    });
    m.def("instruction_set", [] { return backend().set_name(backend().current_set()); });
    m.def(
        "set_instruction_set", [](const std::string& name) { backend().choose_set(find_set(name)); }, py::arg("name"));
    m.def("num_threads", [] { return backend().num_threads(); });
    m.def(
        "set_num_threads",
        [](int threads) {
            if (threads < 1 || threads > 1024)
                throw py::value_error("threads: expected 1 to 1024, got " + std::to_string(threads));
            backend().set_num_threads(threads);
        },
        py::arg("threads"));
    m.def(
        "share_openmp",
        [](const std::optional<std::string>& library) {
            return backend().share_openmp(library ? library->c_str() : nullptr);
        },
        py::arg("library").none(true));
    m.def("set_poison", [](bool poison) { backend().set_poison(poison); }, py::arg("poison"));
    m.def("evaluate", &evaluate, py::arg("function"), py::arg("x"));
    m.def("reserve_size", &reserve_size, py::arg("cell"), py::arg("hidden"), py::arg("dtype"),
          py::arg("zoneout") = false);
    m.def("plan", &plan, py::arg("cell"), py::arg("steps"), py::arg("batch"), py::arg("input"), py::arg("hidden"),
          py::arg("dtype"), py::arg("threads"));
}
