// The CUDA backend behind backend_table.h: which kernels serve a call, on which device, in whose stream and memory.
//
// The "sets" of the table are here the kernels of plan.h. A call's arrays are on one device; its stream and its scratch
// memory are the caller's (problem.h: Where). Nothing here waits for the device.
#include "../backend_table.h"
#include "../device_table.h"

#include <atomic>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "all_cells.h"
#include "cards.h"
#include "cublas.h"
#include "engines.h"
#include "graph_cache.h"
#include "grid/coverage.h"
#include "grid/launch.h"
#include "on_device.h"
#include "plan.h"
#include "program_cells.h"
#include "program_launches.h"
#include "resident/coverage.h"
#include "resident/launch.h"
#include "resident/pair.h"
#include "together.h"

namespace rnnkernels {
namespace {

using cuda::at;
using cuda::Cell;
using cuda::kBuiltIn;
using cuda::Kernel;

template <class Call>
using Put = Index (*)(const Cell& cell, const Call& call, Dtype dtype, const cuda::Queue& queue, void* workspace);

std::atomic<bool> poisoned{false};
std::atomic<int> chosen{cuda::kAutomatic};
std::atomic<bool> with_graphs{false};

// Never destroyed: CUDA may be gone by then.
cuda::GraphCache& graph_cache() {
    static auto* cache = new cuda::GraphCache(64);
    return *cache;
}

// Bytes for the products' library, and behind them for the kernels.
Index library_bytes(Kernel kernel) { return kernel == Kernel::reference ? 0 : cuda::kCublasWorkspace; }

// Why a kernel cannot serve a call; empty where it can.
template <class Call>
std::string not_served(Kernel kernel, int cell, const Call& call, Dtype dtype, const cuda::Card& card) {
    if (kernel == Kernel::grid) return cuda::not_grid(*at(cell).table, call, dtype, card);
    return kernel == Kernel::resident ? cuda::not_resident(*at(cell).table, call, dtype, card) : std::string();
}

// A queue for a call, with what its kernel wants to know of the card. A backward that the kernel does not serve runs
// step by step, as by products.
template <class Call>
cuda::Queue queue_of(void* stream, const cuda::Products& products, Kernel kernel, int cell, const Call& call,
                     Dtype dtype) {
    cuda::Queue queue{stream, &products};
    const cuda::Card card = cuda::card_of(call.in.where.device);
    queue.shared = cuda::most_shared(card.capability), queue.capability = card.capability;
    if (std::is_same_v<Call, BackwardCall> && !not_served(kernel, cell, call, dtype, card).empty()) return queue;
    if (kernel == Kernel::resident) queue.resident = card.room;
    if (kernel == Kernel::grid) queue.grid = card.processors;
    return queue;
}

// Throws where a kernel was asked for by name that does not serve the call.
void check_kernel(Kernel kernel, int cell, const ForwardCall& call, Dtype dtype) {
    const std::string why = not_served(kernel, cell, call, dtype, cuda::card_of(call.in.where.device));
    if (!why.empty()) throw std::invalid_argument(std::string("kernel: ") + cuda::name_of(kernel) + ": " + why);
}
void check_kernel(Kernel, int, const BackwardCall&, Dtype) {}

// Which kernel a set stands for: the best one that serves the call.
Kernel that_serves(Kernel best, int cell, const ForwardCall& call, Dtype dtype) {
    return not_served(best, cell, call, dtype, cuda::card_of(call.in.where.device)).empty() ? best : Kernel::products;
}
// What was measured are forwards.
Kernel that_serves(Kernel best, int, const BackwardCall&, Dtype) {
    return best == Kernel::resident || best == Kernel::grid ? Kernel::products : best;
}
template <class Call>
Kernel kernel_of(int set, int cell, const Call& call, Dtype dtype) {
    if (set != cuda::kAutomatic) return static_cast<Kernel>(set);
    const Kernel best = cuda::choose_kernel(call.in.shape, dtype, cuda::card_of(call.in.where.device));
    return that_serves(best, cell, call, dtype);
}

// Steps without rows: there may be any number of them, and nothing to do in one.
template <class Call>
Call without_empty_steps(Call call) {
    if (call.in.shape.batch == 0) call.in.shape.steps = 0, call.in.starts = nullptr;
    return call;
}

template <class Call>
Index workspace_bytes(Put<Call> put, int cell, Kernel kernel, const Call& call, Dtype dtype) {
    const cuda::Queue nowhere = queue_of(nullptr, cuda::reference_products(), kernel, cell, call, dtype);
    return put(at(cell), without_empty_steps(call), dtype, nowhere, nullptr) + library_bytes(kernel);
}

// All that decides what a call puts into its stream, as bytes: the call itself, and what of the host's it points to.
template <class Call>
std::string key_of(Put<Call> put, int cell, Kernel kernel, Dtype dtype, const Call& given) {
    static_assert(std::is_trivially_copyable_v<Call>);
    Call call = given;
    call.in.starts = nullptr;
    call.in.attention = nullptr;
    call.in.where.stream = nullptr;  // a graph may run in any
#if defined(__has_builtin) && __has_builtin(__builtin_clear_padding)
    __builtin_clear_padding(&call);  // else it may differ where the call does not, and there are fewer graphs
#endif
    std::string key;
    const auto add = [&](const void* from, std::size_t bytes) { key.append(static_cast<const char*>(from), bytes); };
    add(&put, sizeof put);  // forward or backward
    add(&cell, sizeof cell);
    add(&kernel, sizeof kernel);
    add(&dtype, sizeof dtype);
    add(&call, sizeof call);
    if (given.in.attention) add(given.in.attention, sizeof *given.in.attention);
    if (given.in.starts) add(given.in.starts, static_cast<std::size_t>(given.in.shape.steps + 1) * sizeof(Index));
    return key;
}

// Throws where a call cannot be put as it is; it is without empty steps.
template <class Call>
void check_call(Put<Call> put, int cell, Kernel kernel, const Call& call, Dtype dtype) {
    const Where& where = call.in.where;
    check_kernel(kernel, cell, call, dtype);
    const Index wanted = workspace_bytes(put, cell, kernel, call, dtype);
    if (where.workspace_bytes < wanted)
        throw cuda::Error("workspace: expected at least " + std::to_string(wanted) + " bytes, got " +
                          std::to_string(where.workspace_bytes));
}

// Makes ready what a call launches, on the current device. `pair`: the resident kernel of both directions.
template <class Call>
void make_kernels(int cell, const Call& call, Dtype dtype, const cuda::Queue& queue, bool pair) {
    if (cell >= kBuiltIn)
        cuda::make_ready(cuda::program_of(cell - kBuiltIn), dtype, std::is_same_v<Call, BackwardCall>);
    if (call.in.shape.hidden == 0) return;
    const CellTable& table = *at(cell).table;
    const Shape& shape = call.in.shape;
    const cuda::OwnProgram* program = cell < kBuiltIn ? nullptr : &cuda::program_of(cell - kBuiltIn);
    const cuda::Operands operands = cuda::operands_of(dtype, call.in.where.tf32);
    const cuda::Card card{queue.capability, queue.grid};
    if constexpr (std::is_same_v<Call, BackwardCall>) {
        if (queue.is_resident())
            cuda::make_resident_backward_ready(cell, program, cuda::divide_backward(table, call.in, operands, queue),
                                               dtype, pair);
        if (queue.grid > 0)
            cuda::make_grid_backward_ready(cell, program, cuda::divide_grid_backward(table, shape, card), dtype);
    } else {
        if (queue.is_resident())
            cuda::make_resident_ready(cell, program, cuda::divide(table, call.in, operands, queue), dtype, pair);
        if (queue.grid > 0) cuda::make_grid_ready(cell, program, cuda::divide_grid(table, shape, card), dtype);
    }
}

template <class Call>
void run(Put<Call> put, int set, int cell, const Call& given, Dtype dtype) {
    const Call call = without_empty_steps(given);
    const Where& where = call.in.where;
    const Kernel kernel = kernel_of(set, cell, call, dtype);
    check_call(put, cell, kernel, call, dtype);
    const cuda::OnDevice device(where.device);
    make_kernels(cell, call, dtype, queue_of(nullptr, cuda::reference_products(), kernel, cell, call, dtype), false);
    auto* own = static_cast<char*>(where.workspace);
    const auto record = [&](void* stream) {
        if (kernel != Kernel::reference) {
            const cuda::Cublas blas(stream, own, where.tf32);
            const cuda::Queue queue = queue_of(stream, blas.products(), kernel, cell, call, dtype);
            put(at(cell), call, dtype, queue, own + cuda::kCublasWorkspace);
        } else {
            put(at(cell), call, dtype, {stream, &cuda::reference_products()}, own);
        }
    };
    if (with_graphs.load() && !cuda::is_recorded(where.stream))
        graph_cache().put(key_of(put, cell, kernel, dtype, call), where.stream, record);
    else
        record(where.stream);
}

// A call of a group, ready.
template <class Call>
cuda::ReadyCall ready(Put<Call> put, const cuda::GatheredCall& from, const Call& call, std::string& key) {
    const Kernel kernel = kernel_of(from.set, from.cell, call, from.dtype);
    check_call(put, from.cell, kernel, call, from.dtype);
    key += key_of(put, from.cell, kernel, from.dtype, call);
    return {&at(from.cell), nullptr,
            nullptr,        from.dtype,
            kernel,         queue_of(nullptr, cuda::reference_products(), kernel, from.cell, call, from.dtype)};
}

void forward(int set, int cell, Dtype dtype, const ForwardCall& call) {
    run(cuda::put_forward, set, cell, call, dtype);
}

[[noreturn]] void not_here(const char* what) { throw cuda::Error(std::string(what) + ": not on this backend"); }

const Backend table{
    "cuda",
    [] { return kBuiltIn + cuda::program_count(); },
    [](int cell) -> const CellInfo& { return at(cell).table->info; },
    [](const CellEntry&) -> int { not_here("cells with passes of their own"); },
    [](const ProgramCell& cell) { return kBuiltIn + cuda::add_program(cell); },
    cuda::program_operation,
    [] { return cuda::kKernels; },
    [](int set) { return set == cuda::kAutomatic ? "auto" : cuda::name_of(static_cast<Kernel>(set)); },
    [] { return chosen.load(); },
    [](int set) { chosen.store(set); },
    [] { return 1; },
    [](int) {},
    [](int) {},
    [] { return false; },
    [](bool) {},
    [](const char*) { return false; },
    [](bool poison) { poisoned.store(poison); },
    [] { return poisoned.load(); },
    [](std::size_t) -> void* { not_here("memory"); },
    [](void*, std::size_t) {},
    [](int, int cell, Dtype dtype, Index hidden, bool zones) {
        Inputs in{};
        in.shape = {1, 1, 1, hidden, hidden};
        in.noise.zones = zones;
        return cuda::reserve_bytes(*at(cell).table, in, dtype);
    },
    [](int, int cell, Dtype dtype, WeightStorage, const Shape& shape, int) {
        return cuda::plan(*at(cell).table, shape, dtype);
    },
    [](int, int, Dtype, const Inputs&, const Preparation&, bool) -> void* { not_here("prepared layers"); },
    [](int, int, Dtype, const void*) { return Index{0}; },
    [](int, int, Dtype, const void*, void*) {},
    [](int, int, Dtype, void*, const void*) {},
    [](int, int, Dtype, void*) {},
    [](int set, int cell, Dtype dtype, const ForwardCall& call) {
        return workspace_bytes(cuda::put_forward, cell, kernel_of(set, cell, call, dtype), call, dtype);
    },
    [](int set, int cell, Dtype dtype, const BackwardCall& call) {
        return workspace_bytes(cuda::put_backward, cell, kernel_of(set, cell, call, dtype), call, dtype);
    },
    forward,
    [](int set, int cell, Dtype dtype, const ForwardCall* calls, int count) {
        for (int i = 0; i < count; ++i) forward(set, cell, dtype, calls[i]);
    },
    [](int set, int cell, Dtype dtype, const BackwardCall& call) { run(cuda::put_backward, set, cell, call, dtype); },
    [](int, Dtype, const ElementDropout&) { not_here("dropout that does not say where"); },  // device_table.h's does
    [](int, int, Dtype, const void*, void*, Index) { not_here("functions of arrays"); },
};

}  // namespace

const Backend& backend() { return table; }

namespace cuda {

struct Recorded {
    Graph graph;
};

Recorded* record_forwards(const GatheredCall* calls, int count) {
    const OnDevice device(calls[0].forward.in.where.device);
    const Record record = [&](void* stream) {
        for (int i = 0; i < count; ++i) {
            ForwardCall there = calls[i].forward;
            there.in.where.stream = stream;
            forward(calls[i].set, calls[i].cell, calls[i].dtype, there);
        }
    };
    return new Recorded{Graph(record)};
}

void run_recorded(const Recorded* recorded, int device, void* stream) {
    const OnDevice current(device);
    recorded->graph.run(stream);
}

void discard_recorded(Recorded* recorded) { delete recorded; }

bool is_recorded_stream(int device, void* stream) {
    const OnDevice current(device);
    return is_recorded(stream);
}

void set_graphs(bool on) {
    with_graphs.store(on);
    graph_cache().clear();
}

void put_together(const GatheredCall* calls, int count, Index piece) {
    if (count == 0) return;
    std::vector<GatheredCall> of(calls, calls + count);
    std::vector<ReadyCall> all;
    std::string key = "together";
    key.append(reinterpret_cast<const char*>(&piece), sizeof piece);
    for (GatheredCall& call : of) {
        call.forward = without_empty_steps(call.forward), call.backward = without_empty_steps(call.backward);
        all.push_back(call.is_backward ? ready(put_backward, call, call.backward, key)
                                       : ready(put_forward, call, call.forward, key));
        if (call.is_backward)
            all.back().backward = &call.backward;
        else
            all.back().forward = &call.forward;
        if (all.back().in().where.device != all[0].in().where.device || call.is_backward != of[0].is_backward)
            throw std::invalid_argument("calls: expected all forwards, or all backwards, of one device");
    }
    const Where& where = all[0].in().where;
    const OnDevice device(where.device);
    const bool pair = count == 2 && are_directions(all[0], all[1]);
    if (pair) make_directions(all[0], all[1]);
    for (int i = 0; i < count; ++i) {
        const ReadyCall& call = all[static_cast<std::size_t>(i)];
        if (call.forward)
            make_kernels(of[static_cast<std::size_t>(i)].cell, *call.forward, call.dtype, call.queue, pair);
        else
            make_kernels(of[static_cast<std::size_t>(i)].cell, *call.backward, call.dtype, call.queue, pair);
    }
    const auto record = [&](void* stream) { put_together(all, pair, piece, stream); };
    if (with_graphs.load() && !is_recorded(where.stream))
        graph_cache().put(key, where.stream, record);
    else
        record(where.stream);
}

GraphCounts graph_counts() { return graph_cache().counts(); }

}  // namespace cuda

}  // namespace rnnkernels
