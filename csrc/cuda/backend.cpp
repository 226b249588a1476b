// The CUDA backend behind backend_table.h: which kernels serve a call, on which device, in whose stream and memory.
//
// The "sets" of the table are here the kernels of plan.h. A call's arrays are on one device; its stream and its scratch
// memory are the caller's (problem.h: Where). Nothing here waits for the device.
#include "../backend_table.h"
#include "../device_table.h"

#include <atomic>
#include <string>
#include <utility>

#include "../recurrence/cell_info.h"
#include "cell_kernels.h"
#include "cublas.h"
#include "on_device.h"
#include "plan.h"

namespace rnnkernels {
namespace {

using cuda::CellKernels;
using cuda::Kernel;

struct Parts {
    const CellKernels& (*kernels[RNNKERNELS_PARTS])(int cell, Dtype dtype);
};
template <int... part>
constexpr Parts make_parts(std::integer_sequence<int, part...>) {
    return {{cuda::part_kernels<part>...}};
}
const CellKernels& at(int cell, Dtype dtype) {
    static constexpr Parts parts = make_parts(std::make_integer_sequence<int, RNNKERNELS_PARTS>{});
    return parts.kernels[cell % RNNKERNELS_PARTS](cell, dtype);
}

// Bytes for the kernels, rounded up, and behind them for their products' library.
Index library_bytes(int set) { return set == static_cast<int>(Kernel::products) ? cuda::kCublasWorkspace : 0; }

template <class Call>
Index workspace_bytes(Index (*kernel)(const Call&, Dtype, const cuda::Queue&, void*), int set, const Call& call,
                      Dtype dtype) {
    const cuda::Queue nowhere{nullptr, &cuda::reference_products()};
    return kernel(call, dtype, nowhere, nullptr) + library_bytes(set);
}

template <class Call>
void run(Index (*kernel)(const Call&, Dtype, const cuda::Queue&, void*), int set, const Call& call, Dtype dtype) {
    const Where& where = call.in.where;
    const Index wanted = workspace_bytes(kernel, set, call, dtype);
    if (where.workspace_bytes < wanted)
        throw cuda::Error("workspace: expected at least " + std::to_string(wanted) + " bytes, got " +
                          std::to_string(where.workspace_bytes));
    const cuda::OnDevice device(where.device);
    auto* own = static_cast<char*>(where.workspace);
    if (set == static_cast<int>(Kernel::products)) {
        const cuda::Cublas blas(where.stream, own, where.tf32);
        kernel(call, dtype, {where.stream, &blas.products()}, own + cuda::kCublasWorkspace);
    } else {
        kernel(call, dtype, {where.stream, &cuda::reference_products()}, own);
    }
}

void forward(int set, int cell, Dtype dtype, const ForwardCall& call) {
    run(at(cell, dtype).forward, set, call, dtype);
}

[[noreturn]] void not_here(const char* what) { throw cuda::Error(std::string(what) + ": not on this backend"); }

std::atomic<bool> poisoned{false};
std::atomic<int> chosen{static_cast<int>(Kernel::products)};

const Backend table{
    "cuda",
    [] { return cuda::cell_count<cuda::AllCells>; },
    [](int cell) -> const CellInfo& { return cuda::Infos<cuda::AllCells>::of_cell[cell]; },
    [] { return cuda::kKernels; },
    [](int set) { return cuda::name_of(static_cast<Kernel>(set)); },
    [] { return chosen.load(); },
    [](int set) { chosen.store(set); },
    [] { return 1; },
    [](int) {},
    [](const char*) { return false; },
    [](bool poison) { poisoned.store(poison); },
    [] { return poisoned.load(); },
    [](std::size_t) -> void* { not_here("memory"); },
    [](void*, std::size_t) {},
    [](int, int cell, Dtype dtype, Index hidden, bool zoneout) {
        Inputs in{};
        in.shape = {1, 1, 1, hidden, hidden};
        in.noise.zones = zoneout;
        return at(cell, dtype).reserve_bytes(in, dtype);
    },
    [](int, int cell, Dtype dtype, const Shape& shape, int) { return at(cell, dtype).plan(shape, dtype); },
    [](int, int, Dtype, const Inputs&, WeightStorage) -> void* { not_here("prepared layers"); },
    [](int, int, Dtype, const void*) { return Index{0}; },
    [](int, int, Dtype, void*) {},
    [](int set, int cell, Dtype dtype, const ForwardCall& call) {
        return workspace_bytes(at(cell, dtype).forward, set, call, dtype);
    },
    [](int set, int cell, Dtype dtype, const BackwardCall& call) {
        return workspace_bytes(at(cell, dtype).backward, set, call, dtype);
    },
    forward,
    [](int set, int cell, Dtype dtype, const ForwardCall* calls, int count) {
        for (int i = 0; i < count; ++i) forward(set, cell, dtype, calls[i]);
    },
    [](int set, int cell, Dtype dtype, const BackwardCall& call) { run(at(cell, dtype).backward, set, call, dtype); },
    // Of a call that does not say where it runs: on the first device, in its default stream.
    [](int, Dtype dtype, const ElementDropout& call) { cuda::drop({}, dtype, call); },
    [](int, int, Dtype, const void*, void*, Index) { not_here("functions of arrays"); },
};

}  // namespace

const Backend& backend() { return table; }

}  // namespace rnnkernels
