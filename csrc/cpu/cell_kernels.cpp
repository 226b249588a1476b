// The kernels of some cells for one instruction set: those whose number leaves the rest RNNKERNELS_PART when divided
// by RNNKERNELS_PARTS. Compiled once per set and part, so that the cells of a set are compiled side by side.
// RNNKERNELS_ONE_ENGINE: one engine serves all calls of a cell (below).
#include "cell_kernels.h"

#include "../cells/all.h"
#include "engines.h"
#include "wavefront.h"

namespace rnnkernels::RNNKERNELS_TARGET {
namespace {

template <class Cell, class T>
void forward_task(void* context, int thread) {
    const auto& shared = *static_cast<ForwardShared<Cell, T>*>(context);
    if (thread >= shared.plan.threads) return;
    ForwardEngineOf<Cell, T> engine(shared, thread);
    engine.begin();
    run_forward<Cell>(engine, shared.rows, shared.plan.forward_chunk * shared.rows.batch);
}

template <class Cell, class T>
void backward_task(void* context, int thread) {
    const auto& shared = *static_cast<BackwardShared<Cell, T>*>(context);
    if (thread >= shared.plan.threads) return;
    BackwardEngineOf<Cell, T> engine(shared, thread);
    engine.begin();
    run_backward<Cell>(engine, shared.rows, shared.plan.backward_chunk * shared.rows.batch);
}

template <class Shared>
void prepare(void* context, int threads) {
    static_cast<Shared*>(context)->prepare(threads);
}

// The threads a call can use at all, so that no other is woken.
template <class Cell, class T>
int threads_of(Pass pass, const Inputs& in, int threads) {
    return plan_of<Cell, T>(pass, in, threads).threads;
}

// Whether a call asks for more than the cell and its gradients (cells/cell.h: Extended).
bool asks_for_more(const Inputs& in) {
    bool more = in.noise.zones || in.noise.recurrent > 0;
    for (const double setting : in.settings) more = more || setting < __builtin_inf();
    return more;
}
bool asks_for_more(const ForwardCall& call) {
    bool more = asks_for_more(call.in);
    for (const void* sequence : call.sequence) more = more || sequence;
    return more;
}
bool asks_for_more(const BackwardCall& call) {
    bool more = asks_for_more(call.in) || call.norms[0];
    for (const void* sequence : call.d_sequence) more = more || sequence;
    return more;
}

// The form of a cell for calls that ask for nothing more. With one engine for all calls, which takes half as long to
// compile and runs plain ones some percent slower, it is the other form too.
#if RNNKERNELS_ONE_ENGINE
template <class Cell>
using ForPlainCalls = Extended<Cell>;
#else
template <class Cell>
using ForPlainCalls = Cell;
#endif

template <class Cell, class T>
void forward_on(const ForwardCall& call, int threads) {
    Workspace workspace;
    using Shared = ForwardShared<Cell, T>;
    Shared shared(call, workspace);
    cpu::run_parallel(threads_of<Cell, T>(Pass::forward, call.in, threads), prepare<Shared>, forward_task<Cell, T>,
                      &shared);
}

template <class Cell, class T>
void forward(const ForwardCall& call, int threads) {
    asks_for_more(call) ? forward_on<Extended<Cell>, T>(call, threads)
                        : forward_on<ForPlainCalls<Cell>, T>(call, threads);
}

template <class Cell, class T>
void wavefront_task(void* context, int thread) {
    static_cast<Wavefront<Cell, T>*>(context)->run(thread);
}

template <class Cell, class T>
void forward_layers(const ForwardCall* calls, int count, int threads) {
    const Index chunk = plan_wavefront(plan_input<Cell, T>(Pass::forward, calls[0].in, threads), count);
    bool more = false;
    for (int layer = 0; layer < count; ++layer) more = more || asks_for_more(calls[layer]);
    if (chunk == 0 || more) {
        for (int layer = 0; layer < count; ++layer) forward<Cell, T>(calls[layer], threads);
        return;
    }
    Workspace workspace;
    using Form = ForPlainCalls<Cell>;
    Wavefront<Form, T> wavefront{calls, count, chunk, workspace};
    cpu::run_parallel(threads < count ? threads : count, prepare<Wavefront<Form, T>>, wavefront_task<Form, T>,
                      &wavefront);
}

template <class Cell, class T>
void backward_on(const BackwardCall& call, int threads) {
    const Shape& shape = call.in.shape;
    if (shape.steps * shape.batch == 0) {
        const auto units = static_cast<std::size_t>(shape.hidden) * sizeof(T);
        std::memset(call.dweight_ih, 0, units * input_gates<Cell>.count * static_cast<std::size_t>(shape.input));
        std::memset(call.dweight_hh, 0,
                    units * recurrent_gates<Cell>.count * static_cast<std::size_t>(width_of<Cell>(shape)));
        if constexpr (projected<Cell>)
            std::memset(call.dweight_hr, 0, units * static_cast<std::size_t>(shape.projection));
        if constexpr (own_feedback_weight<Cell>)
            std::memset(
                call.dweight_gg, 0,
                units * feedback_gates<Cell>.count * feedback_count<Cell> * static_cast<std::size_t>(shape.hidden));
    }
    Workspace workspace;
    using Shared = BackwardShared<Cell, T>;
    Shared shared(call, workspace);
    cpu::run_parallel(threads_of<Cell, T>(Pass::backward, call.in, threads), prepare<Shared>, backward_task<Cell, T>,
                      &shared);
}

template <class Cell, class T>
void backward(const BackwardCall& call, int threads) {
    asks_for_more(call) ? backward_on<Extended<Cell>, T>(call, threads)
                        : backward_on<ForPlainCalls<Cell>, T>(call, threads);
}

template <class Cell, class T>
void prepare_task(void* context, int thread) {
    const auto& prepared = *static_cast<PreparedWeights<Cell, T>*>(context);
    prepared.weights.pack(thread, prepared.threads);
}

template <class Cell, class T>
void* prepare_weights(const Inputs& in, WeightStorage storage, int threads) {
    auto* prepared = new PreparedWeights<Cell, T>;
    try {
        prepared->weights.take(prepared->workspace, in, {in.x != nullptr, in.tokens != nullptr, true, storage});
        cpu::run_parallel(
            threads, [](void* context, int count) { static_cast<PreparedWeights<Cell, T>*>(context)->threads = count; },
            prepare_task<Cell, T>, prepared);
    } catch (...) {
        delete prepared;
        throw;
    }
    return prepared;
}

template <class Cell, class T>
Index prepared_bytes(const void* prepared) {
    return static_cast<const PreparedWeights<Cell, T>*>(prepared)->workspace.bytes();
}

template <class Cell, class T>
void discard_weights(void* prepared) {
    delete static_cast<PreparedWeights<Cell, T>*>(prepared);
}

// The plan of a forward on vectors, for those who ask.
template <class Cell, class T>
Plan forward_plan(const Shape& shape, int threads) {
    Inputs in{};
    in.shape = shape;
    in.x = &in;  // only whether it is null is read
    return plan_of<Cell, T>(Pass::forward, in, threads);
}

template <class Cell, class T>
Index reserve_size(Index hidden, bool zoneout) {
    using G = Geometry<Cell>;
    Shape shape{};
    shape.hidden = hidden;
    return (blocks_of<T>(hidden) * G::reserve(zoneout) * Vec<T>::lanes + behind_blocks<Cell>(shape)) *
           static_cast<Index>(sizeof(T));
}

// One cell's kernels; none where another part has them.
template <bool mine, class Cell, class T>
constexpr CellKernels kernels_if() {
    if constexpr (mine)
        return {reserve_size<Cell, T>,    forward_plan<Cell, T>, prepare_weights<Cell, T>, prepared_bytes<Cell, T>,
                discard_weights<Cell, T>, forward<Cell, T>,      forward_layers<Cell, T>,  backward<Cell, T>};
    else
        return {};
}

template <int count>
struct Table {
    CellKernels of_cell[count];
};

template <class T, template <class> class... Cells, int... number>
constexpr Table<sizeof...(Cells)> make_table(CellList<Cells...>, std::integer_sequence<int, number...>) {
    return {{kernels_if<number % RNNKERNELS_PARTS == RNNKERNELS_PART, Cells<Vec<T>>, T>()...}};
}

template <class T>
constexpr auto table = make_table<T>(AllCells{}, std::make_integer_sequence<int, cell_count<AllCells>>{});

}  // namespace

template <>
const CellKernels& part_kernels<RNNKERNELS_PART>(int cell, Dtype dtype) {
    return dtype == Dtype::float32 ? table<float>.of_cell[cell] : table<double>.of_cell[cell];
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
