// Every kernel of one instruction set. Compiled once per set, each time with -DRNNKERNELS_TARGET=<set>.
#include "set_kernels.h"

#include "../math/functions.h"

#include "../cells/all.h"
#include "engines.h"
#include "wavefront.h"

namespace rnnkernels::RNNKERNELS_TARGET {
namespace {

using cpu::SetKernels;

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

template <class Cell, class T>
void forward(const ForwardCall& call, int threads) {
    if constexpr (!extended<Cell>)
        if (asks_for_more(call)) return forward<Extended<Cell>, T>(call, threads);
    Workspace workspace;
    using Shared = ForwardShared<Cell, T>;
    Shared shared(call, workspace);
    cpu::run_parallel(threads_of<Cell, T>(Pass::forward, call.in, threads), prepare<Shared>, forward_task<Cell, T>,
                      &shared);
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
    Wavefront<Cell, T> wavefront{calls, count, chunk, workspace};
    cpu::run_parallel(threads < count ? threads : count, prepare<Wavefront<Cell, T>>, wavefront_task<Cell, T>,
                      &wavefront);
}

template <class Cell, class T>
void backward(const BackwardCall& call, int threads) {
    if constexpr (!extended<Cell>)
        if (asks_for_more(call)) return backward<Extended<Cell>, T>(call, threads);
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

template <class Cell>
constexpr CellInfo info_of() {
    CellInfo info{};
    info.name = Cell::name;
    info.state_count = state_count<Cell>;
    for (int s = 0; s < state_count<Cell>; ++s) info.states[s] = Cell::states[s];
    constexpr const char* inputs[] = {"none", "projected", "direct"};
    constexpr const char* operands[] = {"none", "hidden", "feedback", "gated"};
    for (const Gate& gate : Cell::gates) {
        if (gate.input == Input::none && gate.operand == Operand::none) continue;  // a variant's absent gate
        info.gates[info.gate_count++] = {gate.name, inputs[static_cast<int>(gate.input)],
                                         operands[static_cast<int>(gate.operand)]};
    }
    info.diagonal_count = diagonal_count<Cell>;
    constexpr const char* initials[] = {"drawn", "zero", "one"};
    if constexpr (diagonal_count<Cell> > 0)
        for (int k = 0; k < diagonal_count<Cell>; ++k) {
            const Diagonal& diagonal = Cell::diagonals.diagonal[k];
            info.diagonals[k] = {diagonal.name, initials[static_cast<int>(diagonal.initial)]};
        }
    constexpr const char* normalisations[] = {"none", "products", "products_and_inner"};
    info.normalisation = normalisations[static_cast<int>(find_normalisation<Cell>())];
    constexpr SettingList settings = find_settings<Cell>();
    info.setting_count = settings.count;
    for (int k = 0; k < settings.count; ++k) info.settings[k] = settings.name[k];
    info.projected = projected<Cell>;
    info.direct = direct_gates<Cell>.count > 0;
    info.input_rows = input_gates<Cell>.count;
    info.hidden_rows = recurrent_gates<Cell>.count;
    info.gate_rows = own_feedback_weight<Cell> ? feedback_gates<Cell>.count : 0;
    info.gate_columns = own_feedback_weight<Cell> ? feedback_count<Cell> : 0;
    return info;
}

template <class T>
struct CellKernels {
    Index (*reserve_size)(Index, bool);
    Plan (*plan)(const Shape&, int);
    void* (*prepare)(const Inputs&, WeightStorage, int);
    Index (*prepared_bytes)(const void*);
    void (*discard)(void*);
    void (*forward)(const ForwardCall&, int);
    void (*forward_layers)(const ForwardCall*, int, int);
    void (*backward)(const BackwardCall&, int);
};

template <class List>
struct Tables;

template <template <class> class... Cells>
struct Tables<CellList<Cells...>> {
    static constexpr int count = sizeof...(Cells);
    static constexpr CellInfo info[] = {info_of<Cells<Vec<float>>>()...};
    template <class T>
    static constexpr CellKernels<T> kernels[] = {{reserve_size<Cells<Vec<T>>, T>, forward_plan<Cells<Vec<T>>, T>,
                                                  prepare_weights<Cells<Vec<T>>, T>, prepared_bytes<Cells<Vec<T>>, T>,
                                                  discard_weights<Cells<Vec<T>>, T>, forward<Cells<Vec<T>>, T>,
                                                  forward_layers<Cells<Vec<T>>, T>, backward<Cells<Vec<T>>, T>}...};
};

using All = Tables<AllCells>;

Index any_reserve_size(int cell, Dtype dtype, Index hidden, bool zoneout) {
    return dtype == Dtype::float32 ? All::kernels<float>[cell].reserve_size(hidden, zoneout)
                                   : All::kernels<double>[cell].reserve_size(hidden, zoneout);
}

Plan any_plan(int cell, Dtype dtype, const Shape& shape, int threads) {
    return dtype == Dtype::float32 ? All::kernels<float>[cell].plan(shape, threads)
                                   : All::kernels<double>[cell].plan(shape, threads);
}

void* any_prepare(int cell, Dtype dtype, const Inputs& in, WeightStorage storage, int threads) {
    return dtype == Dtype::float32 ? All::kernels<float>[cell].prepare(in, storage, threads)
                                   : All::kernels<double>[cell].prepare(in, storage, threads);
}

Index any_prepared_bytes(int cell, Dtype dtype, const void* prepared) {
    return dtype == Dtype::float32 ? All::kernels<float>[cell].prepared_bytes(prepared)
                                   : All::kernels<double>[cell].prepared_bytes(prepared);
}

void any_discard(int cell, Dtype dtype, void* prepared) {
    dtype == Dtype::float32 ? All::kernels<float>[cell].discard(prepared)
                            : All::kernels<double>[cell].discard(prepared);
}

void any_forward(int cell, Dtype dtype, const ForwardCall& call, int threads) {
    dtype == Dtype::float32 ? All::kernels<float>[cell].forward(call, threads)
                            : All::kernels<double>[cell].forward(call, threads);
}

void any_forward_layers(int cell, Dtype dtype, const ForwardCall* calls, int count, int threads) {
    dtype == Dtype::float32 ? All::kernels<float>[cell].forward_layers(calls, count, threads)
                            : All::kernels<double>[cell].forward_layers(calls, count, threads);
}

void any_backward(int cell, Dtype dtype, const BackwardCall& call, int threads) {
    dtype == Dtype::float32 ? All::kernels<float>[cell].backward(call, threads)
                            : All::kernels<double>[cell].backward(call, threads);
}

template <class T>
void evaluate(int function, const T* x, T* out, Index count) {
    for (Index i = 0; i < count; i += Vec<T>::lanes) {
        const Vec<T> in = Vec<T>::load(x + i, count - i);
        const Vec<T> value = function == 0   ? exp(in)
                             : function == 1 ? sigmoid(in)
                             : function == 2 ? tanh(in)
                                             : log_sigmoid(in);
        value.store(out + i, count - i);
    }
}

void any_evaluate(int function, Dtype dtype, const void* x, void* out, Index count) {
    dtype == Dtype::float32 ? evaluate(function, static_cast<const float*>(x), static_cast<float*>(out), count)
                            : evaluate(function, static_cast<const double*>(x), static_cast<double*>(out), count);
}

// Dropout of elements on all threads.
template <class T>
struct Drop {
    const ElementDropout& call;
    int threads = 1;

    static void prepare(void* context, int count) { static_cast<Drop*>(context)->threads = count; }
    static void task(void* context, int thread) {
        const auto& [call, threads] = *static_cast<const Drop*>(context);
        drop_elements(static_cast<const T*>(call.from), static_cast<T*>(call.to), call.rows, call.columns, call.rate,
                      call.seed, call.layer << 8 | static_cast<std::uint32_t>(Stream::elements), thread, threads);
    }
};

template <class T>
void drop(const ElementDropout& call, int threads) {
    constexpr Index alone = 1 << 14;  // elements below which a second thread costs more than it saves
    Drop<T> shared{call};
    cpu::run_parallel(call.rows * call.columns < alone ? 1 : threads, Drop<T>::prepare, Drop<T>::task, &shared);
}

void any_drop(Dtype dtype, const ElementDropout& call, int threads) {
    dtype == Dtype::float32 ? drop<float>(call, threads) : drop<double>(call, threads);
}

#define RNNKERNELS_NAME_(set) #set
#define RNNKERNELS_NAME(set) RNNKERNELS_NAME_(set)

constexpr SetKernels table{RNNKERNELS_NAME(RNNKERNELS_TARGET),
                           All::count,
                           All::info,
                           any_reserve_size,
                           any_plan,
                           any_prepare,
                           any_prepared_bytes,
                           any_discard,
                           any_forward,
                           any_forward_layers,
                           any_backward,
                           any_drop,
                           any_evaluate};

}  // namespace

const SetKernels& kernels() { return table; }

}  // namespace rnnkernels::RNNKERNELS_TARGET
