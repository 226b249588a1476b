// The Python module of the CUDA backend (_cuda): its calls (calls.h), its arrays (device_array.h) and what only it has:
// devices, memory for NumPy's arrays, cuBLAS, errors as Python's exceptions. It imports where there is no GPU and no
// driver.
#include "../device_table.h"
#include "arguments.h"
#include "calls.h"
#include "device_prepared.h"
#include "programs.h"
#include "released.h"
#include "xla_ffi.h"

namespace rnnkernels::binding {
namespace {

// Memory of a device that this package owns, for arrays of NumPy's that are copied there. Given back in the order of
// the stream it was taken in, the default one.
class Memory {
public:
    Memory(int device, Index bytes) {
        if (bytes < 0) throw py::value_error("nbytes: expected 0 or more, got " + std::to_string(bytes));
        memory_ = cuda::take_memory(device, bytes);
    }
    ~Memory() { cuda::give_memory(memory_); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    std::uintptr_t pointer() const { return reinterpret_cast<std::uintptr_t>(memory_); }

private:
    void* memory_ = nullptr;
};

void check_bytes(const py::array& array, const View& view) {
    constexpr int wanted = static_cast<int>(py::array::c_style);
    if ((array.flags() & wanted) != wanted || array.nbytes() != view.nbytes())
        throw py::value_error("array: expected C-contiguous memory of " + std::to_string(view.nbytes()) +
                              " bytes, got " + std::to_string(array.nbytes()));
}

void copy_in(const py::array& array, const View& to) {
    check_bytes(array, to);
    const void* data = array.data();
    const Released released;
    cuda::copy_in(data, to.mutable_data(), to.nbytes());
}

void copy_out(const View& from, py::array& array) {
    check_bytes(array, from);
    void* data = array.mutable_data();
    const Released released;
    cuda::copy_out(from.data(), data, from.nbytes());
}

// A copy of a matrix with some elements dropped, as that of _cpu.
View drop(const Place& place, const View& x, double rate, std::uint64_t seed, std::uint32_t layer) {
    if (!(rate >= 0 && rate < 1))
        throw py::value_error("rate: expected a number in [0, 1), got " + std::to_string(rate));
    if (x.ndim() < 1) throw py::value_error("x: expected at least one dimension, got none");
    const Dtype dtype = find_dtype(x, "x");
    ElementDropout call{};
    call.from = checked(place, x, "x", dtype, shape_of(x), "any");
    View out = fresh(place, dtype, shape_of(x));
    call.to = out.mutable_data();
    call.columns = x.shape(x.ndim() - 1);
    call.rows = call.columns > 0 ? x.size() / call.columns : 0;
    call.rate = rate, call.seed = seed, call.layer = layer;
    const Released released;
    cuda::drop(place.where(), dtype, call);
    return out;
}

py::list devices() {
    py::list list;
    for (int device = 0; device < cuda::device_count(); ++device) {
        const cuda::DeviceInfo found = cuda::device_info(device);
        py::dict entry;
        entry["name"] = std::string(found.name);
        entry["capability"] = found.capability;
        entry["processors"] = found.processors;
        entry["memory"] = found.memory;
        list.append(entry);
    }
    return list;
}

py::dict versions() {
    const cuda::Versions found = cuda::versions();
    py::dict entry;
    entry["runtime"] = found.runtime;
    entry["driver"] = found.driver;
    return entry;
}

py::tuple cublas() {
    const cuda::CublasInfo info = cuda::cublas_info();
    return py::make_tuple(info.file, info.version);
}

// What a dense call with all its parameters will ask its place for, in bytes: scratch memory of a forward and of a
// backward, and the reserve that goes from the one to the other.
py::dict call_bytes(const std::string& cell, Index steps, Index batch, Index input, Index hidden, Index projection,
                    const std::string& dtype, bool tokens) {
    if (steps < 0 || batch < 0 || input < 1 || hidden < 1 || projection < 1)
        throw py::value_error("call_bytes: expected T, B >= 0 and I, H, P >= 1");
    const int number = find_cell(cell), set = backend().current_set();
    check_hidden(number, hidden);
    const Dtype kind = read_dtype(dtype);
    static constexpr std::int64_t there = 0;  // only whether a pointer is null is read
    Inputs in{};
    in.shape = {steps, batch, input, hidden, projection};
    if (tokens)
        in.tokens = &there;
    else
        in.x = &there;
    in.weight_ih = in.weight_hh = in.bias_ih = in.bias_hh = in.weight_gg = in.weight_diagonal = in.weight_hr = &there;
    ForwardCall forward{};
    forward.in = in;
    BackwardCall backward{};
    backward.in = in;
    std::int64_t result = 0;
    backward.dx = tokens ? nullptr : &result;
    py::dict found;
    found["inference"] = backend().forward_bytes(set, number, kind, forward);
    forward.reserve = &result;
    found["forward"] = backend().forward_bytes(set, number, kind, forward);
    found["backward"] = backend().backward_bytes(set, number, kind, backward);
    found["reserve"] = backend().reserve_size(set, number, kind, hidden, false) * steps * batch;
    return found;
}

// What is best for a problem on a card; pure, as plan.h says.
using MeasuredRow = std::tuple<int, std::string, Index, Index, std::string>;  // capability, dtype, B, H, kernel
std::string choose_kernel(Index steps, Index batch, Index input, Index hidden, const std::string& dtype, int capability,
                          int processors, const std::optional<std::vector<MeasuredRow>>& rows) {
    std::vector<cuda::MeasuredKernel> table;
    table.reserve(rows ? rows->size() + 1 : 0);  // data() of an empty one is not null
    if (rows)
        for (const auto& [of, kind, b, h, kernel] : *rows) {
            if (b < 1 || h < 1) throw py::value_error("rows: expected B and H of 1 or more");
            table.push_back({of, read_dtype(kind), b, h, find_set(kernel)});
        }
    return cuda::kernel_for({steps, batch, input, hidden, hidden}, read_dtype(dtype), capability, processors,
                            rows ? table.data() : nullptr, static_cast<Index>(table.size()));
}

// The prelude and the source of a cell that is a program.
py::tuple program_source(const std::string& cell, const std::string& dtype, const std::string& prefix) {
    const cuda::ProgramSource source = cuda::program_source(find_cell(cell), read_dtype(dtype), prefix);
    return py::make_tuple(source.prelude, source.text);
}

cuda::ResidentLayer resident_layer(const std::string& cell, const std::string& dtype, Index hidden, Index batch,
                                   int processors, bool tf32, bool pair, bool backward, int masks) {
    return {find_cell(cell), read_dtype(dtype), hidden, batch, processors, tf32, pair, backward, masks};
}
py::tuple resident_source(const std::string& cell, const std::string& dtype, Index hidden, Index batch, int processors,
                          bool tf32, bool pair, bool backward, int masks) {
    const cuda::ProgramSource source =
        cuda::resident_source(resident_layer(cell, dtype, hidden, batch, processors, tf32, pair, backward, masks));
    return py::make_tuple(source.prelude, source.text);
}
py::tuple grid_source(const std::string& cell, const std::string& dtype, Index hidden, Index batch, int processors,
                      int capability, bool backward) {
    const cuda::ProgramSource source = cuda::grid_source(
        resident_layer(cell, dtype, hidden, batch, processors, false, false, backward, 0), capability);
    return py::make_tuple(source.prelude, source.text);
}
py::bytes compile_resident(const std::string& cell, const std::string& dtype, Index hidden, Index batch, int processors,
                           int capability, bool tf32, bool pair, bool backward, int masks) {
    const cuda::ResidentLayer layer =
        resident_layer(cell, dtype, hidden, batch, processors, tf32, pair, backward, masks);
    std::string code;
    {
        const Released released;
        code = cuda::compile_resident(layer, capability);
    }
    return py::bytes(code);
}

py::bytes compile_program(const std::string& cell, const std::string& dtype, bool backward, int capability) {
    const int number = find_cell(cell);
    const Dtype kind = read_dtype(dtype);
    std::string code;
    {
        const Released released;
        code = cuda::compile_program(number, kind, backward, capability);
    }
    return py::bytes(code);
}

py::tuple nvrtc() {
    const cuda::NvrtcInfo info = cuda::nvrtc_info();
    return py::make_tuple(info.file, info.major, info.minor);
}

py::tuple graph_counts() {
    const cuda::GraphCounts found = cuda::graph_counts();
    return py::make_tuple(found.made, found.runs);
}

// The Python classes of errors, which the Python layer has: the general one, too little memory, not here.
struct Errors {
    py::object general, memory, unavailable;
};
Errors& errors() {
    static auto* classes = new Errors{};  // never destroyed: Python is gone by then
    return *classes;
}

void raise(const py::object& kind, const char* what) { PyErr_SetString(kind ? kind.ptr() : PyExc_RuntimeError, what); }

void bind_errors(py::module_& m) {
    m.def(
        "set_errors",
        [](py::object general, py::object memory, py::object unavailable) {
            errors() = {std::move(general), std::move(memory), std::move(unavailable)};
        },
        py::arg("general"), py::arg("memory"), py::arg("unavailable"));
    py::register_local_exception_translator([](std::exception_ptr thrown) {
        try {
            if (thrown) std::rethrow_exception(thrown);
        } catch (const cuda::OutOfMemory& found) {
            raise(errors().memory, found.what());
        } catch (const cuda::Unavailable& found) {
            raise(errors().unavailable, found.what());
        } catch (const cuda::Error& found) {
            raise(errors().general, found.what());
        }
    });
}

}  // namespace
}  // namespace rnnkernels::binding

PYBIND11_MODULE(RNNKERNELS_MODULE, m) {
    using namespace rnnkernels::binding;
    using rnnkernels::backend;
    m.doc() = "rnnkernels' kernels on NVIDIA GPUs. Use the rnnkernels package; this module may change.";
    bind_errors(m);
    bind_device_array(m);
    bind_calls(m);
    bind_device_prepared(m);
    bind_programs(m);
    bind_xla_ffi(m);
    py::class_<Memory>(m, "Memory", "Memory of a device.")
        .def(py::init<int, rnnkernels::Index>(), py::arg("device"), py::arg("nbytes"))
        .def_property_readonly("pointer", &Memory::pointer);
    m.def("copy_in", &copy_in, py::arg("array"), py::arg("to"));
    m.def("copy_out", &copy_out, py::arg("view"), py::arg("array"));
    m.def("drop", &drop, py::arg("place"), py::arg("x"), py::arg("rate"), py::arg("seed"), py::arg("layer"));
    m.def("devices", &devices);
    m.def("versions", &versions);
    m.def("cublas", &cublas);
    m.def(
        "set_library_folders",
        [](const std::vector<std::string>& folders) {
            std::vector<const char*> names;
            for (const std::string& folder : folders) names.push_back(folder.c_str());
            rnnkernels::cuda::set_cublas_folders(names.data(), static_cast<int>(names.size()));
            rnnkernels::cuda::set_nvrtc_folders(names.data(), static_cast<int>(names.size()));
        },
        py::arg("folders"));
    m.def("program_source", &program_source, py::arg("cell"), py::arg("dtype"), py::arg("prefix") = "");
    m.def("compile_program", &compile_program, py::arg("cell"), py::arg("dtype"), py::arg("backward"),
          py::arg("capability"));
    m.def("resident_source", &resident_source, py::arg("cell"), py::arg("dtype"), py::arg("hidden"), py::arg("batch"),
          py::arg("processors"), py::arg("tf32") = false, py::arg("pair") = false, py::arg("backward") = false,
          py::arg("masks") = 0);
    m.def("grid_source", &grid_source, py::arg("cell"), py::arg("dtype"), py::arg("hidden"), py::arg("batch"),
          py::arg("processors"), py::arg("capability"), py::arg("backward") = false);
    m.def("compile_resident", &compile_resident, py::arg("cell"), py::arg("dtype"), py::arg("hidden"), py::arg("batch"),
          py::arg("processors"), py::arg("capability"), py::arg("tf32") = false, py::arg("pair") = false,
          py::arg("backward") = false, py::arg("masks") = 0);
    m.def("nvrtc", &nvrtc);
    m.def("kernels", &set_names);
    m.def("kernel", [] { return backend().set_name(backend().current_set()); });
    m.def(
        "set_kernel",
        [](const std::string& name) {
            backend().choose_set(name == "auto" ? rnnkernels::cuda::kAutomatic : find_set(name));
        },
        py::arg("name"));
    m.def("set_graphs", &rnnkernels::cuda::set_graphs, py::arg("on"));
    m.def("graph_counts", &graph_counts);
    m.def("call_bytes", &call_bytes, py::arg("cell"), py::arg("steps"), py::arg("batch"), py::arg("input"),
          py::arg("hidden"), py::arg("projection"), py::arg("dtype"), py::arg("tokens") = false);
    m.def("choose_kernel", &choose_kernel, py::arg("steps"), py::arg("batch"), py::arg("input"), py::arg("hidden"),
          py::arg("dtype"), py::arg("capability"), py::arg("processors"), py::arg("rows") = py::none());
}
