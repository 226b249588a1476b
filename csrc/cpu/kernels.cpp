// What one instruction set offers: its cells' tables, and their kernels from the parts they are compiled in. Compiled
// once per set, each time with -DRNNKERNELS_TARGET=<set>; the cells themselves are in cell_kernels.cpp.
#include "set_kernels.h"

#include "../recurrence/cell_info.h"
#include "cell_kernels.h"
#include "dropped_weights.h"
#include "threads.h"

namespace rnnkernels::RNNKERNELS_TARGET {

namespace {

using cpu::SetKernels;

struct Parts {
    const CellKernels& (*kernels[RNNKERNELS_PARTS])(int cell, Dtype dtype);
};

template <int... part>
constexpr Parts make_parts(std::integer_sequence<int, part...>) {
    return {{part_kernels<part>...}};
}

const CellKernels& at(int cell, Dtype dtype) {
    static constexpr Parts parts = make_parts(std::make_integer_sequence<int, RNNKERNELS_PARTS>{});
    return parts.kernels[cell % RNNKERNELS_PARTS](cell, dtype);
}

Index any_reserve_size(int cell, Dtype dtype, Index hidden, bool zoneout) {
    return at(cell, dtype).reserve_size(hidden, zoneout);
}

Plan any_plan(int cell, Dtype dtype, const Shape& shape, int threads) { return at(cell, dtype).plan(shape, threads); }

void* any_prepare(int cell, Dtype dtype, const Inputs& in, WeightStorage storage, int threads) {
    return at(cell, dtype).prepare(in, storage, threads);
}

Index any_prepared_bytes(int cell, Dtype dtype, const void* prepared) {
    return at(cell, dtype).prepared_bytes(prepared);
}

void any_discard(int cell, Dtype dtype, void* prepared) { at(cell, dtype).discard(prepared); }

void any_forward(int cell, Dtype dtype, const ForwardCall& call, int threads) {
    at(cell, dtype).forward(call, threads);
}

void any_forward_layers(int cell, Dtype dtype, const ForwardCall* calls, int count, int threads) {
    at(cell, dtype).forward_layers(calls, count, threads);
}

void any_backward(int cell, Dtype dtype, const BackwardCall& call, int threads) {
    at(cell, dtype).backward(call, threads);
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
                           cell_count<AllCells>,
                           Infos<AllCells>::of_cell,
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
