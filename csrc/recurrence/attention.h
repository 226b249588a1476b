// What an attending recurrence looks at, as plain data. In every step, h the output of the step before:
//
//   q = W_q h + b_q                                                           (A)
//   e_i = scale score . tanh(key_i + q + location_i), or scale q . key_i      for each of L places
//   location_i = sum over c, k of W_l[c, k] s_c[i + k - K/2]                  (A); beyond the ends s is 0
//   alpha = softmax(e) over the places that the mask leaves
//   context = beta sum_i alpha_i value_i, beta = sigmoid(w_b . h + b_b) or 1  (D)
//
// and the cell's input is x and, behind it, the context. s_0 is alpha of the step before, s_1 the sum of all before.
// Hard: one place s is drawn from alpha, and the context is beta value_s. Greedy: s is the likeliest place.
// Bahdanau et al. 2015 (additive), Luong et al. 2015 (products), Xu et al. 2015 (beta, hard), Chorowski et al. 2015
// (location). Not here: how a backend does it (cpu/attention_row.h).
#pragma once

#include <cstdint>

namespace rnnkernels {

// Values of a query's row: A rounded up, the same on every instruction set.
constexpr std::int64_t query_row(std::int64_t size) { return (size + 15) / 16 * 16; }

// A reserve has the queries of all rows behind it, on the next edge of so many bytes.
inline constexpr std::int64_t kBehindReserve = 16;

// Arrays of the call's dtype. Rows of `keys`, `values` and `mask` are those of the caller's batch, also where that is
// ragged.
struct Attention {
    std::int64_t batch, places, features, size;  // B, L, D, A
    double scale;
    bool rows_shared;  // whether sequences share a row of the batch: those between whose steps a state is reset
    bool greedy;       // whether hard attention takes the likeliest place instead
    bool hard;
    std::uint64_t seed;           // of the places that are drawn
    std::int64_t first_step;      // the number of the call's first, for them
    const void* keys;             // (B, L, A)
    const void* values;           // (B, L, D)
    const void* mask;             // (B, L), not 0 where a place may be looked at, or null
    const void* weight_query;     // (A, H)
    const void* bias_query;       // (A) or null
    const void* score;            // (A); null: products
    const void* weight_gate;      // (H), or null: beta is 1
    const void* bias_gate;        // (1) or null
    std::int64_t channels, taps;  // C, K of weight_location; 0: there is none
    const void* weight_location;  // (A, C, K) or null
    const void* location;         // (B, C, L): s before the first step, or null for zeros; of dense batches
};

// What a forward finds, and its backward reads.
struct Attended {
    void* weights;         // alpha, (T, B, L)
    void* contexts;        // (T, B, D)
    std::int64_t* places;  // that were drawn, (T, B), or null: soft
    void* location;        // (B, C, L): s after the last step, or null: not wanted
};

// What a backward is given beside dL/d(the recurrence), and finds.
struct AttendedGradients {
    const void* weights;    // dL/dalpha, (T, B, L), or null for zeros
    const void* contexts;   // (T, B, D) or null for zeros
    void* keys;             // (B, L, A)
    void* values;           // (B, L, D)
    void* weight_query;     // (A, H)
    void* bias_query;       // (A) or null
    void* score;            // (A) or null
    void* weight_gate;      // (H) or null
    void* bias_gate;        // (1) or null
    void* weight_location;  // (A, C, K) or null
};

}  // namespace rnnkernels
