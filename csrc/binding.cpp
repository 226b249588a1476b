// The Python module of one backend (_cpu): arrays in, arrays out. Built once per backend from this file.
//
// Everything a kernel relies on is checked here (dtype, layout, every shape, every token), so that no call
// from Python can reach memory it should not. Names, conversions and defaults are the Python layer's
// (python/rnnkernels/functional.py). The GIL is released while kernels run.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "backend_table.h"

namespace py = pybind11;

namespace {

using rnnkernels::backend;
using rnnkernels::BackwardCall;
using rnnkernels::CellInfo;
using rnnkernels::Dtype;
using rnnkernels::ForwardCall;
using rnnkernels::Index;
using rnnkernels::Inputs;
using rnnkernels::Shape;

using Dims = std::vector<Index>;

constexpr Index kMostUnits = Index{1} << 31;

std::string text_of(const Dims& shape) {
    std::string text = "(";
    for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + (shape.size() == 1 ? ",)" : ")");
}

Dims shape_of(const py::array& array) { return Dims(array.shape(), array.shape() + array.ndim()); }

std::string dtype_text(const py::array& array) { return py::str(array.dtype()); }

bool is_dtype(const py::array& array, Dtype dtype) {
    return dtype == Dtype::float32 ? py::isinstance<py::array_t<float>>(array)
                                   : py::isinstance<py::array_t<double>>(array);
}

const char* name_of(Dtype dtype) { return dtype == Dtype::float32 ? "float32" : "float64"; }

void check_layout(const py::array& array, const char* name) {
    constexpr int wanted =
        static_cast<int>(py::array::c_style) | static_cast<int>(py::detail::npy_api::NPY_ARRAY_ALIGNED_);
    if ((array.flags() & wanted) != wanted)
        throw py::value_error(std::string(name) + ": expected a C-contiguous, aligned array");
}

// The array's data, once it is known to be what the kernels expect. `shape` describes the symbols.
const void* checked(const py::array& array, const char* name, Dtype dtype, const Dims& shape, const char* symbols) {
    if (!is_dtype(array, dtype))
        throw py::type_error(std::string(name) + ": expected dtype " + name_of(dtype) + ", got " + dtype_text(array));
    if (shape_of(array) != shape)
        throw py::value_error(std::string(name) + ": expected shape " + symbols + " = " + text_of(shape) + ", got " +
                              text_of(shape_of(array)));
    check_layout(array, name);
    return array.data();
}

const void* checked(const std::optional<py::array>& array, const char* name, Dtype dtype, const Dims& shape,
                    const char* symbols) {
    return array ? checked(*array, name, dtype, shape, symbols) : nullptr;
}

int find_cell(const std::string& name) {
    std::string known;
    for (int i = 0; i < backend().cell_count(); ++i) {
        if (name == backend().cell(i).name) return i;
        known += (i ? ", " : "") + std::string(backend().cell(i).name);
    }
    throw py::value_error("cell: expected one of " + known + ", got '" + name + "'");
}

int find_set(const std::string& name) {
    std::string known;
    for (int i = 0; i < backend().set_count(); ++i) {
        if (name == backend().set_name(i)) return i;
        known += (i ? ", " : "") + std::string(backend().set_name(i));
    }
    throw py::value_error("instruction set: this machine and build have " + known + "; got '" + name + "'");
}

// A fresh array; NaN all over when tests ask for it.
py::array fresh(Dtype dtype, const Dims& shape) {
    py::array array =
        dtype == Dtype::float32 ? py::array(py::dtype::of<float>(), shape) : py::array(py::dtype::of<double>(), shape);
    if (backend().poison() && array.nbytes() > 0)
        std::memset(array.mutable_data(), 0xff, static_cast<std::size_t>(array.nbytes()));
    return array;
}

// What a forward kept for its backward. Its layout is the instruction set's.
class Reserve {
public:
    Reserve(int set, Index bytes) : set_(set), bytes_(static_cast<std::size_t>(bytes)) {
        memory_.reset(::operator new(bytes_, std::align_val_t{64}));
        if (backend().poison()) std::memset(memory_.get(), 0xff, bytes_);
    }
    int set() const { return set_; }
    std::size_t bytes() const { return bytes_; }
    void* data() { return memory_.get(); }
    const void* data() const { return memory_.get(); }

private:
    struct Free {
        void operator()(void* memory) const { ::operator delete(memory, std::align_val_t{64}); }
    };
    int set_;
    std::size_t bytes_;
    std::unique_ptr<void, Free> memory_;
};

Index reserve_bytes(int set, int cell, Dtype dtype, const Shape& shape) {
    Index bytes = 0;
    if (__builtin_mul_overflow(backend().reserve_size(set, cell, dtype, shape), shape.steps, &bytes))
        throw std::bad_alloc();
    return bytes;
}

// The arguments that forward and backward share, checked.
struct Problem {
    int cell;
    Dtype dtype;
    Inputs in{};
    Dims state_shape;

    const CellInfo& info() const { return backend().cell(cell); }
};

void check_tokens(const std::int64_t* tokens, Index count, Index batch, Index limit) {
    for (Index i = 0; i < count; ++i)
        if (tokens[i] < 0 || tokens[i] >= limit)
            throw py::value_error("x: expected tokens in [0, " + std::to_string(limit) + "), got " +
                                  std::to_string(tokens[i]) + " at [" + std::to_string(i / batch) + ", " +
                                  std::to_string(i % batch) + "]");
}

Problem read_problem(const std::string& cell, const py::array& x, const py::array& weight_ih,
                     const py::array& weight_hh, const std::optional<py::array>& bias_ih,
                     const std::optional<py::array>& bias_hh, const std::optional<std::vector<py::array>>& state) {
    Problem p{find_cell(cell), Dtype::float32, {}, {}};
    const CellInfo& info = p.info();
    Index inputs = 0, recurrent = 0;
    for (int g = 0; g < info.gate_count; ++g) {
        inputs += info.gates[g].input ? 1 : 0;
        recurrent += std::strcmp(info.gates[g].operand, "none") != 0 ? 1 : 0;
    }
    if (is_dtype(weight_ih, Dtype::float64)) {
        p.dtype = Dtype::float64;
    } else if (!is_dtype(weight_ih, Dtype::float32)) {
        throw py::type_error("params['weight_ih']: expected dtype float32 or float64, got " + dtype_text(weight_ih));
    }
    if (weight_hh.ndim() != 2 || weight_hh.shape(1) < 1)
        throw py::value_error("params['weight_hh']: expected shape (G*H, H) with H at least 1, got " +
                              text_of(shape_of(weight_hh)));
    if (weight_ih.ndim() != 2 || weight_ih.shape(1) < 1)
        throw py::value_error("params['weight_ih']: expected shape (G*H, I) with I at least 1, got " +
                              text_of(shape_of(weight_ih)));
    const bool tokens = py::isinstance<py::array_t<std::int64_t>>(x);
    if (x.ndim() != (tokens ? 2 : 3))
        throw py::value_error(std::string("x: expected shape ") + (tokens ? "(T, B) of tokens" : "(T, B, I)") +
                              ", got " + text_of(shape_of(x)));
    const Index hidden = weight_hh.shape(1), input = weight_ih.shape(1);
    if (hidden > kMostUnits)  // an empty array can have any width; products of sizes below must not overflow
        throw py::value_error("params['weight_hh']: expected H at most " + std::to_string(kMostUnits) + ", got " +
                              text_of(shape_of(weight_hh)));
    p.in.shape = {x.shape(0), x.shape(1), input, hidden};
    const Shape& s = p.in.shape;
    p.in.weight_ih = checked(weight_ih, "params['weight_ih']", p.dtype, {inputs * hidden, input}, "(G*H, I)");
    p.in.weight_hh = checked(weight_hh, "params['weight_hh']", p.dtype, {recurrent * hidden, hidden}, "(G*H, H)");
    p.in.bias_ih = checked(bias_ih, "params['bias_ih']", p.dtype, {inputs * hidden}, "(G*H,)");
    p.in.bias_hh = checked(bias_hh, "params['bias_hh']", p.dtype, {recurrent * hidden}, "(G*H,)");
    if (tokens) {
        check_layout(x, "x");
        p.in.tokens = static_cast<const std::int64_t*>(x.data());
        check_tokens(p.in.tokens, s.steps * s.batch, s.batch, s.input);
    } else {
        p.in.x = checked(x, "x", p.dtype, {s.steps, s.batch, s.input}, "(T, B, I)");
    }
    p.state_shape = {s.batch, s.hidden};
    if (state) {
        if (static_cast<int>(state->size()) != info.state_count)
            throw py::value_error("state: expected " + std::to_string(info.state_count) + " arrays for " + info.name +
                                  ", got " + std::to_string(state->size()));
        for (int i = 0; i < info.state_count; ++i) {
            const std::string name = "state[" + std::to_string(i) + "]";
            p.in.state[i] =
                checked((*state)[static_cast<std::size_t>(i)], name.c_str(), p.dtype, p.state_shape, "(B, H)");
        }
    }
    return p;
}

py::tuple forward(const std::string& cell, const py::array& x, const py::array& weight_ih, const py::array& weight_hh,
                  const std::optional<py::array>& bias_ih, const std::optional<py::array>& bias_hh,
                  const std::optional<std::vector<py::array>>& state, bool training) {
    const Problem p = read_problem(cell, x, weight_ih, weight_hh, bias_ih, bias_hh, state);
    const Shape& s = p.in.shape;
    ForwardCall call{};
    call.in = p.in;
    py::array output = fresh(p.dtype, {s.steps, s.batch, s.hidden});
    call.output = output.mutable_data();
    py::tuple final_state(p.info().state_count);
    for (int i = 0; i < p.info().state_count; ++i) {
        py::array array = fresh(p.dtype, p.state_shape);
        call.final_state[i] = array.mutable_data();
        final_state[static_cast<std::size_t>(i)] = array;
    }
    const int set = backend().current_set();
    py::object reserve = py::none();
    if (training) {
        auto kept = std::make_unique<Reserve>(set, reserve_bytes(set, p.cell, p.dtype, s));
        call.reserve = kept->data();
        reserve = py::cast(std::move(kept));
    }
    {
        const py::gil_scoped_release released;
        backend().forward(set, p.cell, p.dtype, call);
    }
    return py::make_tuple(output, final_state, reserve);
}

py::tuple backward(const std::string& cell, const py::array& x, const py::array& weight_ih, const py::array& weight_hh,
                   const std::optional<py::array>& bias_ih, const std::optional<py::array>& bias_hh,
                   const std::optional<std::vector<py::array>>& state, const py::array& output, const Reserve& reserve,
                   const std::optional<py::array>& d_output, const std::optional<std::vector<py::array>>& d_state,
                   bool need_dx) {
    const Problem p = read_problem(cell, x, weight_ih, weight_hh, bias_ih, bias_hh, state);
    const Shape& s = p.in.shape;
    BackwardCall call{};
    call.in = p.in;
    const Dims sequence{s.steps, s.batch, s.hidden};
    call.output = checked(output, "output", p.dtype, sequence, "(T, B, H)");
    call.d_output = checked(d_output, "d_output", p.dtype, sequence, "(T, B, H)");
    if (reserve.bytes() != static_cast<std::size_t>(reserve_bytes(reserve.set(), p.cell, p.dtype, s)))
        throw py::value_error("reserve: expected the one of this forward, got one of another size");
    call.reserve = reserve.data();
    if (d_state) {
        if (static_cast<int>(d_state->size()) != p.info().state_count)
            throw py::value_error("d_state: expected " + std::to_string(p.info().state_count) + " arrays for " +
                                  p.info().name + ", got " + std::to_string(d_state->size()));
        for (int i = 0; i < p.info().state_count; ++i) {
            const std::string name = "d_state[" + std::to_string(i) + "]";
            call.d_final_state[i] =
                checked((*d_state)[static_cast<std::size_t>(i)], name.c_str(), p.dtype, p.state_shape, "(B, H)");
        }
    }
    py::object dx = py::none(), dbias_ih = py::none(), dbias_hh = py::none();
    const auto give = [&](void*& where, const Dims& shape) {
        py::array array = fresh(p.dtype, shape);
        where = array.mutable_data();
        return array;
    };
    if (p.in.x && need_dx) dx = give(call.dx, {s.steps, s.batch, s.input});
    const py::array dweight_ih = give(call.dweight_ih, shape_of(weight_ih));
    const py::array dweight_hh = give(call.dweight_hh, shape_of(weight_hh));
    if (bias_ih) dbias_ih = give(call.dbias_ih, shape_of(*bias_ih));
    if (bias_hh) dbias_hh = give(call.dbias_hh, shape_of(*bias_hh));
    py::tuple d_initial(p.info().state_count);
    for (int i = 0; i < p.info().state_count; ++i)
        d_initial[static_cast<std::size_t>(i)] = give(call.d_state[i], p.state_shape);
    {
        const py::gil_scoped_release released;
        backend().backward(reserve.set(), p.cell, p.dtype, call);
    }
    return py::make_tuple(dx, dweight_ih, dweight_hh, dbias_ih, dbias_hh, d_initial);
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
        list.append(cell);
    }
    return list;
}

py::array evaluate(const std::string& function, const py::array& x) {
    const int number = function == "exp" ? 0 : function == "sigmoid" ? 1 : function == "tanh" ? 2 : -1;
    if (number < 0) throw py::value_error("function: expected exp, sigmoid or tanh, got '" + function + "'");
    const Dtype dtype = is_dtype(x, Dtype::float64) ? Dtype::float64 : Dtype::float32;
    const void* data = checked(x, "x", dtype, shape_of(x), "any");
    py::array out = fresh(dtype, shape_of(x));
    backend().evaluate(backend().current_set(), number, dtype, data, out.mutable_data(), x.size());
    return out;
}

py::dict plan(const std::string& cell, Index steps, Index batch, Index input, Index hidden, const std::string& dtype,
              int threads) {
    if (steps < 0 || batch < 0 || input < 1 || hidden < 1 || threads < 1 || (dtype != "float32" && dtype != "float64"))
        throw py::value_error("plan: expected T, B >= 0, I, H, threads >= 1 and dtype float32 or float64");
    const rnnkernels::PlanInfo info =
        backend().plan(backend().current_set(), find_cell(cell), dtype == "float32" ? Dtype::float32 : Dtype::float64,
                       {steps, batch, input, hidden}, threads);
    py::dict out;
    out["row_groups"] = info.row_groups;
    out["unit_groups"] = info.unit_groups;
    out["forward_chunk"] = info.forward_chunk;
    out["backward_chunk"] = info.backward_chunk;
    return out;
}

}  // namespace

PYBIND11_MODULE(RNNKERNELS_MODULE, m) {
    m.doc() = "rnnkernels' kernels on one backend. Use the rnnkernels package; this module may change.";
    py::class_<Reserve>(m, "Reserve", "What a training forward keeps for its backward; opaque.")
        .def_property_readonly("nbytes", &Reserve::bytes);
    m.def("cells", &cells);
    m.def("forward", &forward, py::arg("cell"), py::arg("x"), py::arg("weight_ih"), py::arg("weight_hh"),
          py::arg("bias_ih").none(true), py::arg("bias_hh").none(true), py::arg("state").none(true),
          py::arg("training"));
    m.def("backward", &backward, py::arg("cell"), py::arg("x"), py::arg("weight_ih"), py::arg("weight_hh"),
          py::arg("bias_ih").none(true), py::arg("bias_hh").none(true), py::arg("state").none(true), py::arg("output"),
          py::arg("reserve"), py::arg("d_output").none(true), py::arg("d_state").none(true), py::arg("need_dx") = true);
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
    m.def("set_poison", [](bool poison) { backend().set_poison(poison); }, py::arg("poison"));
    m.def("evaluate", &evaluate, py::arg("function"), py::arg("x"));
    m.def("plan", &plan, py::arg("cell"), py::arg("steps"), py::arg("batch"), py::arg("input"), py::arg("hidden"),
          py::arg("dtype"), py::arg("threads"));
}
