// What one instruction set offers: the engines, for every cell, in float and double. Compiled once per set, each time
// with -DRNNKERNELS_TARGET=<set>. What is compiled for each cell is in passes/passes.cpp alone.
#include "../passes/passes.h"
#include "../passes/program_pass.h"
#include "../recurrence/table_of.h"
#include "attending_backward.h"
#include "attending_forward.h"
#include "backward_begin.h"
#include "backward_options.h"
#include "backward_sums.h"
#include "head_backward.h"
#include "low_backward.h"
#include "multiply.h"
#include "normalised_backward.h"
#include "normalised_forward.h"
#include "projected_backward.h"
#include "projected_forward.h"
#include "set_kernels.h"
#include "thread_limits.h"
#include "threads.h"
#include "wavefront.h"

namespace rnnkernels::RNNKERNELS_TARGET {
namespace {

using cpu::SetCell;
using cpu::SetKernels;

// What a SetCell of this set is.
struct Cell {
    EngineCell<float> float32;
    EngineCell<double> float64;

    Cell(const CellTable& table, const SetPasses& passes)
        : float32(table, passes.float32), float64(table, passes.float64) {}
};

template <class T>
const EngineCell<T>& engine_cell(const SetCell& handle) {
    const auto& cell = reinterpret_cast<const Cell&>(handle);
    if constexpr (sizeof(T) == sizeof(float))
        return cell.float32;
    else
        return cell.float64;
}

const SetCell* make_cell(const CellTable& table, const SetPasses& passes) {
    return reinterpret_cast<const SetCell*>(new Cell(table, passes));
}

const SetCell* built_in_cell(int number) {
    struct Cells {
        const SetCell* of[cell_count<AllCells>];
        Cells() {
            for (int i = 0; i < cell_count<AllCells>; ++i)
                of[i] = make_cell(Tables<AllCells>::of_cell[i], passes_of(i));
        }
    };
    static const Cells cells;
    return cells.of[number];
}

template <class Shared>
void prepare(void* context, int threads) {
    static_cast<Shared*>(context)->prepare(threads);
}

template <class T>
void forward_task(void* context, Member& member) {
    const auto& shared = *static_cast<ForwardShared<T>*>(context);
    if (member.number >= shared.plan.threads) return;
    ForwardEngine<T> engine(shared, member);
    engine.begin();
    run_forward(shared.table.form, engine, shared.rows, shared.plan.forward_chunk * shared.rows.batch);
}

template <class T>
void backward_task(void* context, Member& member) {
    const auto& shared = *static_cast<BackwardShared<T>*>(context);
    if (member.number >= shared.plan.threads) return;
    BackwardEngine<T> engine(shared, member);
    engine.begin();
    run_backward(shared.table.form, engine, shared.rows, shared.plan.backward_chunk * shared.rows.batch);
}

template <class T>
void forward(const EngineCell<T>& cell, const ForwardCall& call, int threads) {
    if (call.in.shape.batch == 0) return;  // steps without rows: there may be any number of them, and nothing to write
    Workspace workspace;
    using Shared = ForwardShared<T>;
    Shared shared(cell, call, workspace);
    cpu::run_parallel(shared.useful_threads(threads), prepare<Shared>, forward_task<T>, &shared, shared.watch);
}

template <class T>
void forward_layers(const EngineCell<T>& cell, const ForwardCall* calls, int count, int threads) {
    const Index chunk = plan_wavefront(
        plan_input(cell, Pass::forward, calls[0].in, threads, recurrent_kept<T>(cell.table, calls[0])), count);
    if (chunk == 0 || cpu::threads_for_call(threads) == 1) {
        for (int layer = 0; layer < count; ++layer) forward(cell, calls[layer], threads);
        return;
    }
    Workspace workspace;
    Wavefront<T> wavefront{cell, calls, count, chunk, workspace};
    cpu::run_parallel(
        threads < count ? threads : count, prepare<Wavefront<T>>,
        [](void* context, Member& member) { static_cast<Wavefront<T>*>(context)->run(member); }, &wavefront,
        calls[0].in.watch ? calls[0].in.watch : cpu::unwatched());
}

// The gradients of weights that no step has.
template <class T>
void clear_gradients(const CellTable& table, const BackwardCall& call) {
    const Shape& shape = call.in.shape;
    const auto clear = [&](void* gradient, Index rows, Index columns) {
        if (rows * columns > 0) std::memset(gradient, 0, static_cast<std::size_t>(rows * columns) * sizeof(T));
    };
    const Attention* const a = call.in.attention;
    clear(call.dweight_ih, table.input.count * shape.hidden, shape.input + (a ? a->features : 0));
    clear(call.dweight_hh, table.recurrents * shape.hidden, recurrent_row(table, shape));
    if (table.form == Form::projected) clear(call.dweight_hr, shape.projection, shape.hidden);
    clear(call.dweight_gg, table.gg_rows * shape.hidden, table.gg_columns * shape.hidden);
    if (!a) return;
    const AttendedGradients& d = call.d_attended;
    const auto clear_one = [&](void* gradient, Index size) {
        if (gradient) clear(gradient, 1, size);
    };
    clear_one(d.weight_query, a->size * width_of(table, shape));
    clear_one(d.bias_query, a->size);
    clear_one(d.score, a->size);
    clear_one(d.weight_gate, width_of(table, shape));
    clear_one(d.bias_gate, 1);
    clear_one(d.weight_location, a->size * a->channels * a->taps);
}

template <class T>
void backward(const EngineCell<T>& cell, const BackwardCall& call, int threads) {
    if (call.in.shape.batch == 0 && call.in.shape.steps > 0) {  // any number of steps without rows are none
        BackwardCall empty = call;
        empty.in.shape.steps = 0;
        empty.in.starts = nullptr;
        return backward(cell, empty, threads);
    }
    if (call.in.shape.steps * call.in.shape.batch == 0) clear_gradients<T>(cell.table, call);
    Workspace workspace;
    using Shared = BackwardShared<T>;
    Shared shared(cell, call, workspace);
    cpu::run_parallel(shared.useful_threads(threads), prepare<Shared>, backward_task<T>, &shared, shared.watch);
}

// A call of one phase: work(share, shares) on all threads.
template <class Work>
void run_shares(int threads, const Work& work) {
    Workspace workspace;
    struct Shared {
        Workspace& workspace;
        const Work& work;
        Claims claims{};
        Plan plan{};
    } of_call{workspace, work};
    cpu::run_parallel(
        threads,
        [](void* context, int count) {
            auto& shared = *static_cast<Shared*>(context);
            shared.claims = take_claims(shared.workspace, count, count > 1 ? kShares : 1, count);
        },
        [](void* context, Member& member) {
            auto& shared = *static_cast<Shared*>(context);
            Phases(member, shared.plan, shared.claims, shared.claims).everyone(shared.work);
        },
        &of_call);
}

template <class T>
void* prepare_weights(const EngineCell<T>& cell, const Inputs& in, const Preparation& how, int threads) {
    using Prepared = PreparedWeights<T>;
    auto* prepared = new Prepared;
    const ForwardWeights<T>& weights = prepared->weights;
    const bool int8 = how.storage == WeightStorage::int8;
    try {
        prepared->weights.take(prepared->workspace, cell.table, in,
                               {in.x != nullptr, in.tokens != nullptr, true, kept_as(how.storage, in.products)});
        if (threads > 0)
            run_shares(threads, [&](int share, int shares) {
                int8 ? weights.pack_int8(cell.table, how, share, shares) : weights.pack(share, shares);
            });
    } catch (...) {
        delete prepared;
        throw;
    }
    return prepared;
}

// The plan of a forward on vectors, for those who ask.
template <class T>
Plan forward_plan(const EngineCell<T>& cell, WeightStorage weights, const Shape& shape, int threads) {
    Inputs in{};
    in.shape = shape;
    in.x = &in;  // only whether it is null is read
    return plan_of(cell, Pass::forward, in, threads, recurrent_kept(cell.table, kept_as(weights, Products::full)));
}

template <class T>
Index reserve_size(const EngineCell<T>& cell, Index hidden, bool zones) {
    Shape shape{};
    shape.hidden = hidden;
    return (blocks_of<T>(hidden) * reserve_vectors(cell.table, zones) * Vec<T>::lanes +
            behind_blocks(cell.table, shape)) *
           static_cast<Index>(sizeof(T));
}

// A function of functions.h by its number, as binding/ counts them.
template <class T>
Vec<T> value_of(int function, Vec<T> x) {
    switch (function) {
        case 0: return exp(x);
        case 1: return sigmoid(x);
        case 2: return tanh(x);
        case 3: return log_sigmoid(x);
        case 4: return expm1(x);
        case 5: return log(x);
        case 6: return erf(x);
        default: return sqrt(x);
    }
}

template <class T>
void evaluate(int function, const T* x, T* out, Index count) {
    for (Index i = 0; i < count; i += Vec<T>::lanes)
        value_of(function, Vec<T>::load(x + i, count - i)).store(out + i, count - i);
}

// Dropout of elements.
template <class T>
void drop(const ElementDropout& call, int threads) {
    constexpr Index alone = 1 << 14;  // elements below which a second thread costs more than it saves
    run_shares(call.rows * call.columns < alone ? 1 : threads, [&](int share, int shares) {
        drop_elements(static_cast<const T*>(call.from), static_cast<T*>(call.to), call.rows, call.columns, call.rate,
                      call.seed, call.layer << 8 | static_cast<std::uint32_t>(Stream::elements), share, shares);
    });
}

// ---- the table: each of these in the dtype that is asked for

// function(T{}) for the dtype's T.
template <class Function>
RNNKERNELS_INLINE auto in_dtype(Dtype dtype, Function function) {
    return dtype == Dtype::float32 ? function(float{}) : function(double{});
}

constexpr SetKernels table{
    kSetName,
    cell_count<AllCells>,
    Tables<AllCells>::of_cell,
    built_in_cell,
    make_cell,
    make_program_passes,
    program_operation,
    [](const SetCell& cell, Dtype dtype, Index hidden, bool zones) {
        return in_dtype(dtype, [&]<class T>(T) { return reserve_size(engine_cell<T>(cell), hidden, zones); });
    },
    [](const SetCell& cell, Dtype dtype, WeightStorage weights, const Shape& shape, int threads) {
        return in_dtype(dtype, [&]<class T>(T) { return forward_plan(engine_cell<T>(cell), weights, shape, threads); });
    },
    [](const SetCell& cell, Dtype dtype, const Inputs& in, const Preparation& how, int threads) {
        return in_dtype(dtype, [&]<class T>(T) { return prepare_weights(engine_cell<T>(cell), in, how, threads); });
    },
    [](Dtype dtype, void* prepared) -> Workspace& {
        return *in_dtype(dtype, [&]<class T>(T) { return &static_cast<PreparedWeights<T>*>(prepared)->workspace; });
    },
    [](Dtype dtype, void* prepared) {
        in_dtype(dtype, [&]<class T>(T) { delete static_cast<PreparedWeights<T>*>(prepared); });
    },
    [](const SetCell& cell, Dtype dtype, const ForwardCall& call, int threads) {
        in_dtype(dtype, [&]<class T>(T) { forward(engine_cell<T>(cell), call, threads); });
    },
    [](const SetCell& cell, Dtype dtype, const ForwardCall* calls, int count, int threads) {
        in_dtype(dtype, [&]<class T>(T) { forward_layers(engine_cell<T>(cell), calls, count, threads); });
    },
    [](const SetCell& cell, Dtype dtype, const BackwardCall& call, int threads) {
        in_dtype(dtype, [&]<class T>(T) { backward(engine_cell<T>(cell), call, threads); });
    },
    [](Dtype dtype, const ElementDropout& call, int threads) {
        in_dtype(dtype, [&]<class T>(T) { drop<T>(call, threads); });
    },
    [](int function, Dtype dtype, const void* x, void* out, Index count) {
        in_dtype(dtype, [&]<class T>(T) { evaluate(function, static_cast<const T*>(x), static_cast<T*>(out), count); });
    },
};

}  // namespace

const SetKernels& kernels() { return table; }

}  // namespace rnnkernels::RNNKERNELS_TARGET
