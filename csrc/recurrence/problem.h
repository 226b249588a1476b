// A call on a backend as plain data: sizes, arrays, nothing computed. No templates, no Python, no CUDA types,
// one copy for all instruction sets.
//
// Sizes: T steps, B batch, I input size, H hidden size. All arrays are C-contiguous and time-major:
//   x (T, B, I) or tokens (T, B) · weight_ih (Gx*H, I) · weight_hh (Gh*H, H) · bias_ih (Gx*H) · bias_hh (Gh*H)
//   weight_gg (Gf*H, F*H) · weight_diagonal (D*H) · states (B, H) each · output (T, B, H)
// with Gx the gates that weight_ih feeds, Gh those with a row of weight_hh, Gf those that see all F feedback vectors,
// rows in the order of the gate table, and D element-wise weights.
// Arrays are float or double, all of one call alike. x == nullptr means tokens. A null bias is zero.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rnnkernels {

using Index = std::int64_t;

inline constexpr int kMaxStates = 8;
inline constexpr int kMaxGates = 16;

enum class Dtype { float32, float64 };

// How packed weights are kept: in their own dtype, or (float32 only) rounded to bfloat16.
enum class WeightStorage { full, bfloat16 };

// A cell's tables (cells/cell.h), for those who know cells at run time only.
struct GateInfo {
    const char* name;
    const char* input;    // "none", "projected" (a row of weight_ih), "direct" (x itself)
    const char* operand;  // "none", "hidden", "feedback", "gated"
};

struct DiagonalInfo {
    const char* name;
    const char* initial;  // "drawn", "zero", "one"
};

struct CellInfo {
    const char* name;
    int state_count;
    const char* states[kMaxStates];
    int gate_count;
    GateInfo gates[kMaxGates];
    int diagonal_count;
    DiagonalInfo diagonals[kMaxGates];
    const char* normalisation;  // "none", "products", "products_and_inner"
    bool direct;                // some gate takes x itself: I = H
    // Sizes of the weights, in units of H.
    int input_rows;    // of weight_ih
    int hidden_rows;   // of weight_hh
    int gate_rows;     // of weight_gg; 0: the cell has none
    int gate_columns;  // of weight_gg
};

struct Shape {
    Index steps;
    Index batch;
    Index input;
    Index hidden;
};

struct Inputs {
    Shape shape;
    const void* x;               // (T, B, I)
    const std::int64_t* tokens;  // (T, B), each in [0, I)
    // A ragged batch (recurrence/rows.h); shape then counts its steps and sequences, not the arrays'. Null: dense.
    const Index* starts;            // (steps+1)
    const Index* places;            // (rows), or null: x, tokens and output are packed too
    const void* weight_ih;          // (Gx*H, I)
    const void* weight_hh;          // (Gh*H, H)
    const void* bias_ih;            // (Gx*H) or null
    const void* bias_hh;            // (Gh*H) or null
    const void* weight_gg;          // (Gf*H, F*H), or null: the cell has none
    const void* weight_diagonal;    // (D*H), or null: the cell has none
    const void* term;               // (B, Gx*H), added to what weight_ih gives in every step, or null
    const void* state[kMaxStates];  // each (B, H) or null for zeros
};

struct ForwardCall {
    Inputs in;
    const void* prepared;           // the weights, packed before (Backend::prepare), or null: pack them now
    void* output;                   // (T, B, H)
    void* final_state[kMaxStates];  // each (B, H)
    void* reserve;                  // what the backward needs, or null: inference
};

struct BackwardCall {
    Inputs in;
    const void* output;                     // (T, B, H), the forward's
    const void* reserve;                    // the forward's
    const void* d_output;                   // (T, B, H) or null for zeros
    const void* d_final_state[kMaxStates];  // each (B, H) or null for zeros
    void* dx;                               // (T, B, I) or null: tokens, or not wanted
    void* dweight_ih;                       // (Gx*H, I)
    void* dweight_hh;                       // (Gh*H, H)
    void* dbias_ih;                         // (Gx*H) or null
    void* dbias_hh;                         // (Gh*H) or null
    void* dweight_gg;                       // (Gf*H, F*H) or null
    void* dweight_diagonal;                 // (D*H) or null
    void* dterm;                            // (B, Gx*H) or null
    void* d_state[kMaxStates];              // each (B, H)
};

}  // namespace rnnkernels
