// The Python module of a backend on the host (_cpu): its calls (calls.h) and what only it has: instruction sets,
// threads, prepared layers (prepared.h, tensor_steps.h), calls from XLA (xla_ffi.h).
#include <algorithm>
#include <cstring>
#include <iterator>

#include "calls.h"
#include "prepared.h"
#include "prepared_layer.h"
#include "programs.h"
#include "released.h"
#include "tensor_steps.h"
#include "xla_ffi.h"

namespace rnnkernels::binding {
namespace {

py::array evaluate(const std::string& function, const py::array& x) {
    static constexpr const char* names[] = {"exp", "sigmoid", "tanh", "log_sigmoid", "expm1", "log", "erf", "sqrt"};
    const auto* found = std::find(std::begin(names), std::end(names), function);
    if (found == std::end(names))
        throw py::value_error("function: expected exp, sigmoid, tanh, log_sigmoid, expm1, log, erf or sqrt, got '" +
                              function + "'");
    const int number = static_cast<int>(found - std::begin(names));
    const Dtype dtype = is_dtype(x, Dtype::float64) ? Dtype::float64 : Dtype::float32;
    const void* data = checked({}, x, "x", dtype, shape_of(x), "any");
    py::array out = fresh({}, dtype, shape_of(x));
    backend().evaluate(backend().current_set(), number, dtype, data, out.mutable_data(), x.size());
    return out;
}

// A copy of a matrix with some elements dropped; see ElementDropout.
py::array drop(const py::array& x, double rate, std::uint64_t seed, std::uint32_t layer) {
    if (!(rate >= 0 && rate < 1))
        throw py::value_error("rate: expected a number in [0, 1), got " + std::to_string(rate));
    if (x.ndim() < 1) throw py::value_error("x: expected at least one dimension, got none");
    const Dtype dtype = is_dtype(x, Dtype::float64) ? Dtype::float64 : Dtype::float32;
    ElementDropout call{};
    call.from = checked({}, x, "x", dtype, shape_of(x), "any");
    py::array out = fresh({}, dtype, shape_of(x));
    call.to = out.mutable_data();
    call.columns = x.shape(x.ndim() - 1);
    call.rows = call.columns > 0 ? x.size() / call.columns : 0;
    call.rate = rate, call.seed = seed, call.layer = layer;
    {
        const Released released;
        backend().drop(backend().current_set(), dtype, call);
    }
    return out;
}

// A cell from elsewhere (backend_table.h: CellEntry), in a capsule named "rnnkernels.cell", which is kept for ever: so
// is what the cell's passes need. The names that kernels know it by are those of its table.
void add_cell(const py::capsule& entry) {
    if (std::string(entry.name() ? entry.name() : "") != "rnnkernels.cell")
        throw py::value_error(std::string("entry: expected a capsule named rnnkernels.cell, got one named ") +
                              (entry.name() ? entry.name() : "nothing"));
    backend().add_cell(*static_cast<const CellEntry*>(entry.get_pointer()));
    entry.inc_ref();
}

// A reserve of these bytes, without what stands behind them, laid out for this set.
py::object copy_reserve(const py::array& bytes, const std::string& set) {
    if (!holds_bytes(bytes)) throw py::type_error("bytes: expected a contiguous array of uint8 (n,)");
    py::object made;
    auto& reserve = make_owned<Reserve>(made);
    reserve.take({}, find_set(set), bytes.size());
    if (bytes.size() > 0) std::memcpy(reserve.data(), bytes.data(), reserve.bytes());
    return made;
}

// Of every OpenBLAS that is loaded: its path, the threads that a call of it may use, whether they are ours.
// Threads that a program lends for its calls (backend_table.h: LendingDoor).
class LentThreads {
public:
    explicit LentThreads(int workers) : pool_(backend().lending->borrow(workers)) {}
    ~LentThreads() { backend().lending->give_up(pool_); }
    LentThreads(const LentThreads&) = delete;
    LentThreads& operator=(const LentThreads&) = delete;

    void work(int thread) {
        const Released released;
        backend().lending->lend(pool_, thread);
    }
    void end() {
        const Released released;
        backend().lending->end(pool_);
    }
    void use() { backend().lending->use(pool_); }

private:
    void* pool_;
};

WeightStorage low_kind(const std::string& kind) {
    if (kind == "bfloat16") return WeightStorage::bfloat16;
    if (kind == "int8") return WeightStorage::int8;
    throw py::value_error("kind: expected bfloat16 or int8, got '" + kind + "'");
}

// The kernels that could serve products of a kind, slowest first, and the one that does; None where floats multiply.
py::tuple low_kernels(const std::string& kind, const std::optional<std::string>& set) {
    const int number = set ? find_set(*set) : backend().current_set();
    py::list usable;
    for (int i = 0; const char* name = backend().low->usable(number, low_kind(kind), i); ++i) usable.append(name);
    const char* const current = backend().low->current(number, low_kind(kind));
    return py::make_tuple(usable, current ? py::object(py::str(current)) : py::none());
}

// Others than the fastest, for tests; None: the fastest. "none": floats, for bfloat16.
void choose_low_kernels(const std::string& kind, const std::optional<std::string>& name) {
    if (!backend().low->choose(backend().current_set(), low_kind(kind), name ? name->c_str() : nullptr))
        throw py::value_error("name: expected kernels of this set for " + kind + ", got '" + *name + "'");
}

py::list blas() {
    py::list found;
    for (int i = 0;; ++i) {
        const BlasInfo info = backend().blas->blas(i);
        if (info.path == nullptr) return found;
        found.append(py::make_tuple(info.path, info.threads, info.shared));
    }
}

py::dict plan(const std::string& cell, Index steps, Index batch, Index input, Index hidden, const std::string& dtype,
              int threads, const std::string& weights) {
    if (steps < 0 || batch < 0 || input < 1 || hidden < 1 || threads < 1)
        throw py::value_error("plan: expected T, B >= 0 and I, H, threads >= 1");
    const int number = find_cell(cell);
    check_hidden(number, hidden);
    const PlanInfo info =
        backend().plan(backend().current_set(), number, read_dtype(dtype), read_storage(weights, read_dtype(dtype)),
                       {steps, batch, input, hidden, hidden}, threads);
    py::dict out;
    out["threads"] = info.threads;
    out["row_groups"] = info.row_groups;
    out["unit_groups"] = info.unit_groups;
    out["pieces"] = info.pieces;
    out["forward_chunk"] = info.forward_chunk;
    out["backward_chunk"] = info.backward_chunk;
    return out;
}

}  // namespace
}  // namespace rnnkernels::binding

// It needs no GIL: docs/threads.md says what a thread may do beside others.
PYBIND11_MODULE(RNNKERNELS_MODULE, m, pybind11::mod_gil_not_used()) {
    using namespace rnnkernels::binding;
    using rnnkernels::backend;
    m.doc() = "rnnkernels' kernels on one backend. Use the rnnkernels package; this module may change.";
    // Of this module alone: another backend has a class of this name.
    py::class_<Reserve>(m, "Reserve", py::module_local(), py::buffer_protocol(),
                        "What a training forward keeps for its backward; opaque.")
        .def(py::init<py::array>(), py::arg("bytes"))
        .def_buffer(&Reserve::buffer)
        .def_property_readonly("nbytes", &Reserve::bytes)
        .def_property_readonly("instruction_set",
                               [](const Reserve& reserve) { return backend().set_name(reserve.set()); });
    m.def("copy_reserve", &copy_reserve, py::arg("bytes"), py::arg("instruction_set"));
    bind_calls(m);
    m.def("add_cell", &add_cell, py::arg("entry"));
    m.def("drop", &drop, py::arg("x"), py::arg("rate"), py::arg("seed"), py::arg("layer"));
    bind_prepared(m);
    bind_tensor_steps(m);
    bind_programs(m);
    bind_xla_ffi(m);
    m.def("instruction_sets", &set_names);
    m.def("instruction_set", [] { return backend().set_name(backend().current_set()); });
    m.def(
        "set_instruction_set", [](const std::string& name) { backend().choose_set(find_set(name)); }, py::arg("name"));
    m.def("num_threads", [] { return backend().num_threads(); });
    m.def(
        "set_num_threads",
        [](int threads) {
            if (threads < 0 || threads > 1024)
                throw py::value_error("threads: expected 0 to 1024, got " + std::to_string(threads));
            backend().set_num_threads(threads);
        },
        py::arg("threads"));
    m.def(
        "bound_threads",
        [](int threads) {
            if (threads < 1 || threads > 1024)
                throw py::value_error("threads: expected 1 to 1024, got " + std::to_string(threads));
            backend().bound_threads(threads);
        },
        py::arg("threads"));
    m.def("join_torch", [] { return backend().join_torch(); });
    m.def(
        "set_oversubscribed", [](bool oversubscribed) { backend().set_oversubscribed(oversubscribed); },
        py::arg("oversubscribed"));
    m.def(
        "share_openmp",
        [](const std::optional<std::string>& library) {
            return backend().share_openmp(library ? library->c_str() : nullptr);
        },
        py::arg("library").none(true));
    py::class_<LentThreads>(m, "LentThreads", py::module_local())
        .def(py::init<int>(), py::arg("workers"))
        .def("work", &LentThreads::work, py::arg("thread"))
        .def("end", &LentThreads::end);
    m.def(
        "use_lent",
        [](LentThreads* threads) {
            if (threads != nullptr)
                threads->use();
            else
                backend().lending->use(nullptr);
        },
        py::arg("threads").none(true));
    m.def("low_kernels", &low_kernels, py::arg("kind"), py::arg("instruction_set") = std::nullopt);
    m.def("choose_low_kernels", &choose_low_kernels, py::arg("kind"), py::arg("name").none(true));
    m.def("blas", &blas);
    m.def(
        "set_blas_threads", [](int number, int threads) { backend().blas->set_threads(number, threads); },
        py::arg("number"), py::arg("threads"));
    m.def("share_blas", [](bool share) { backend().blas->share(share); }, py::arg("share"));
    m.def("share_blas_when_parallel", [](bool share) { backend().blas->share_when_parallel(share); }, py::arg("share"));
    m.def("evaluate", &evaluate, py::arg("function"), py::arg("x"));
    m.def("plan", &plan, py::arg("cell"), py::arg("steps"), py::arg("batch"), py::arg("input"), py::arg("hidden"),
          py::arg("dtype"), py::arg("threads"), py::arg("weights") = "full");
}
