// A call on a backend as plain data: sizes, arrays, nothing computed. No templates, no Python, no CUDA types,
// one copy for all instruction sets.
//
// Sizes: T steps, B batch, I input size, H hidden size. All arrays are C-contiguous and time-major:
//   x (T, B, I) or tokens (T, B) · weight_ih (Gx*H, I) · weight_hh (Gh*H, H) · bias_ih (Gx*H) · bias_hh (Gh*H)
//   weight_gg (Gf*H, F*H) · weight_diagonal (D*H) · states (B, H) each · output (T, B, H)
// and of a projected cell, whose h has P units: weight_hr (P, H) · weight_hh (Gh*H, P) · h (B, P) · output (T, B, P),
// with Gx the gates that weight_ih feeds, Gh those with a row of weight_hh, Gf those that see all F feedback vectors,
// rows in the order of the gate table, and D element-wise weights.
// Of a cell with heads (heads.h) weight_hh is (Gh*H, H/heads).
// In an attending recurrence (attention.h) weight_ih is (Gx*H, I+D): what of it multiplies the context stands behind.
// Of a cell with element-wise inputs x is (T, B, I+E*H): E vectors of H behind what weight_ih multiplies.
// Arrays are float or double, all of one call alike. x == nullptr means tokens. A null bias is zero.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attention.h"
#include "watch.h"

namespace rnnkernels {

using Index = std::int64_t;

inline constexpr int kMaxStates = 8;
inline constexpr int kMaxGates = 16;
inline constexpr int kMaxSettings = 2;
inline constexpr int kMaxElements = 4;

enum class Dtype { float32, float64, bfloat16, float16 };  // the halves on a GPU only

// How packed weights are kept: in their own dtype, or (float32 only) rounded to bfloat16, or as int8 with a scale for
// each of their rows.
enum class WeightStorage : std::int8_t { full, bfloat16, int8 };

// How products of float32 are made: of floats, or of operands rounded to bfloat16, where the processor has an
// instruction.
enum class Products : std::int8_t { full, bfloat16 };

// So many rows of a weight that is used once are multiplied without packing it (cpu/gate_product.h).
inline constexpr Index kDirectRows = 2;

// How a layer is prepared. Scales of int8 are a float for each row of a matrix; null: its largest magnitude / 127.
struct Preparation {
    WeightStorage storage = WeightStorage::full;
    const float* scale_ih = nullptr;  // (Gx*H)
    const float* scale_hh = nullptr;  // (Gh*H)
    const float* scale_gg = nullptr;  // (Gf*H)
    const float* scale_hr = nullptr;  // (P)
};

// A cell's tables (cells/cell.h), for those who know cells at run time only.
struct GateInfo {
    const char* name;
    const char* input;    // "none", "projected" (a row of weight_ih), "direct" (x itself)
    const char* operand;  // "none", "hidden", "feedback", "gated"
    bool merged;          // x and u are only added: they have one gradient
    bool sigmoid;         // sigmoids alone read it
};

struct DiagonalInfo {
    const char* name;
    const char* initial;  // "drawn", "zero", "one"
};

struct CellInfo {
    const char* name;
    int state_count;
    const char* states[kMaxStates];
    bool zoned[kMaxStates];     // whether zoneout may keep a state's old value
    bool positive[kMaxStates];  // whether a state is a sum of positive terms
    int gate_count;
    GateInfo gates[kMaxGates];
    int diagonal_count;
    DiagonalInfo diagonals[kMaxGates];
    const char* normalisation;  // "none", "products", "products_and_inner"
    bool direct;                // some gate takes x itself: I = H
    bool projected;             // h has a size of its own
    int setting_count;
    const char* settings[kMaxSettings];
    int element_count;  // element-wise inputs of every step, behind x
    const char* elements[kMaxElements];
    // Sizes of the weights, in units of H.
    int input_rows;    // of weight_ih
    int hidden_rows;   // of weight_hh
    int gate_rows;     // of weight_gg; 0: the cell has none
    int gate_columns;  // of weight_gg
    int heads;         // of weight_hh (heads.h); 1: it is dense
};

struct Shape {
    Index steps;
    Index batch;
    Index input;
    Index hidden;
    Index projection = 0;  // of a projected cell: units of h
    Index elements = 0;    // numbers of a row of x behind the I that weight_ih multiplies
};

// Random masks (cpu/masks.h). A rate of 0 is off, and so is a Noise{}. Each mask belongs to (step, row) of the
// sequence arrays, counted from first_step: pieces of a sequence have the masks of the whole.
struct Noise {
    std::uint64_t seed;
    std::uint32_t layer;  // below 2^24: layers of one seed differ
    bool expected;        // evaluation: the masks' expectation instead
    bool per_step;        // recurrent: a mask for each step, not one for all of a row's
    Index first_step;
    Index batch;                 // rows of a step in the sequence arrays
    const Index* places;         // (rows): where each row's masks stand among (T*B), if not where the row does
    bool zones;                  // some rate of zoneout is above 0
    double zoneout[kMaxStates];  // of each state
    double recurrent;            // dropout of what the recurrent weights multiply
    double weights;              // dropout of the recurrent weights (DropConnect)
};

// Where a call runs, on a GPU: on which device, in whose stream, with whose scratch memory. The CPU reads none of it.
struct Where {
    int device = 0;
    void* stream = nullptr;
    void* workspace = nullptr;
    Index workspace_bytes = 0;
    bool tf32 = false;  // products of float32 may round their operands to TF32
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
    const void* weight_hr;          // (P, H), or null: the cell has none
    const void* term;               // (B, Gx*H), added to what weight_ih gives in every step, or null
    const void* state[kMaxStates];  // each (B, H) or null for zeros
    double settings[kMaxSettings] = {__builtin_inf(), __builtin_inf()};  // in the order of CellInfo; infinite: off
    Noise noise;
    const Attention* attention = nullptr;  // null: the recurrence does not attend
    Where where{};
    Watch* watch = nullptr;  // null: nothing stops the call
    Products products = Products::full;
};

struct ForwardCall {
    Inputs in;
    const void* prepared;           // the weights, packed before (Backend::prepare), or null: pack them now
    void* output;                   // (T, B, H)
    void* sequence[kMaxStates];     // of the states after h: after every step, (T, B, H) or null
    void* final_state[kMaxStates];  // each (B, H)
    void* reserve;                  // what the backward needs, or null: inference
    Attended attended;
};

struct BackwardCall {
    Inputs in;
    const void* output;                     // (T, B, H), the forward's
    const void* reserve;                    // the forward's
    const void* d_output;                   // (T, B, H) or null for zeros
    const void* d_sequence[kMaxStates];     // of the states after h, (T, B, H) or null for zeros
    const void* d_final_state[kMaxStates];  // each (B, H) or null for zeros
    void* dx;                               // (T, B, I) or null: tokens, or not wanted
    void* dweight_ih;                       // (Gx*H, I)
    void* dweight_hh;                       // (Gh*H, H)
    void* dbias_ih;                         // (Gx*H) or null
    void* dbias_hh;                         // (Gh*H) or null
    void* dweight_gg;                       // (Gf*H, F*H) or null
    void* dweight_diagonal;                 // (D*H) or null
    void* dweight_hr;                       // (P, H) or null
    void* dterm;                            // (B, Gx*H) or null
    void* d_state[kMaxStates];              // each (B, H)
    void* norms[kMaxStates];                // of dL/d(a state after each step), over its units, (T, B) or null
    Attended attended;                      // the forward's
    AttendedGradients d_attended;
};

// Dropout of the elements of a matrix (rows, columns): each is zero with probability `rate`, else divided by 1 - rate.
// The same masks for the same seed and layer: once for values, once for their gradient.
struct ElementDropout {
    const void* from;
    void* to;  // may be from
    Index rows, columns;
    double rate;
    std::uint64_t seed;
    std::uint32_t layer;
};

}  // namespace rnnkernels
