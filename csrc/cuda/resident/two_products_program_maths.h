// The maths of a cell that is a program in a resident kernel whose step has two products (two_products_warp.h).
#pragma once

#include "program_maths.h"

namespace rnnkernels::RNNKERNELS_TARGET {

struct ResidentProgramGatesAt : ResidentProgramAt {
    V* saved;
    V& gated;

    RNNKERNELS_INLINE void set_saved(int k, V value) const {
        saved[k] = value;
        ResidentProgramAt::set_saved(k, value);
    }
    RNNKERNELS_INLINE void set_made(V value) const { gated = value; }
};

struct ResidentProgramStateAt : ResidentProgramAt {
    const V* saved;
    int first_gated;  // of u and bias

    RNNKERNELS_INLINE V get_gated(int i, int, int) const { return u[first_gated + i] + bias[first_gated + i]; }
    RNNKERNELS_INLINE V get_saved(int k) const { return saved[k]; }
};

// Program::gates(call, at), state(call, at): the instructions of a half. hiddens and saved: numbers of both products,
// and of those between the halves, or the most of them; hidden_count(call), gated_count(call): gates of a product.
template <class Program>
struct TwoProductsProgramMaths : ResidentProgramMaths<Program> {
    using V = Vec<float>;
    static constexpr int exchanges = 2, saved = Program::saved;
    RNNKERNELS_INLINE static constexpr int hidden_count(const ResidentCall& call) {
        return Program::hidden_count(call);
    }

    RNNKERNELS_INLINE static void begin(const ResidentCall& call, Index unit, V* bias) {
        ResidentProgramMaths<Program>::begin(call, unit, bias);
        const ForwardArrays<float>& a = call.a;
        const int first = Program::hidden_count(call);
        RNNKERNELS_IN_REGISTERS
        for (int i = first; i < first + Program::gated_count(call); ++i)
            bias[i] =
                V(a.bias_gated ? a.bias_gated[(call.gate_row[i] - call.gate_row[first]) * a.hidden + unit] : 0.0F);
    }
    RNNKERNELS_INLINE static void gates(const ResidentCall& call, Index row, Index of_batch, Index unit, const V* x,
                                        const V* u, const V* bias, const V* now, V* between, V& gated) {
        Program::gates(
            call,
            ResidentProgramGatesAt{
                {{call.a, row, unit, of_batch}, x, u, bias, now, nullptr, Program::first_fed(call)}, between, gated});
    }
    RNNKERNELS_INLINE static void state(const ResidentCall& call, Index row, Index of_batch, Index unit, const V* x,
                                        const V* u, const V* bias, const V* now, const V* between, V* next) {
        Program::state(call, ResidentProgramStateAt{
                                 {{call.a, row, unit, of_batch}, x, u, bias, now, next, Program::first_fed(call)},
                                 between,
                                 Program::hidden_count(call)});
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
