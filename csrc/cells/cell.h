// What a cell is: a gate table and its element-wise maths, forward then backward, on a value type V.
//
// A cell knows no pointers, strides, dtypes, loops or threads: V is a SIMD vector on the CPU (a float on a
// GPU, a double in a check), one value of one unit of one row. The engines know no cell by name.
//
// The words, per unit and step:
//   x[g]      what x feeds gate g, in the order of the gate table: W_ih[g] x + bias_ih[g], or x itself (0 for none)
//   u[g]      W_hh[g] v + bias_hh[g], v the gate's recurrent operand (0 for a gate that has none)
//   w[k]      the k-th element-wise weight ("diagonal": a peephole, say), one number per unit
//   s[], n[]  the states before and after the step, h first
//   saved[]   what the forward keeps for the backward ("reserve")
//   dn[]      dL/dn; dn[0] already holds every path into h, the next step's products included
//   d[]       gradient slots, dL/dx[g] and dL/du[g]: gate g's are d[gate.dx] and d[gate.du], one and the same
//             slot for a gate that only adds the two; and for each element-wise weight what it gets from this step
//   ds[]      dL/ds along the element-wise paths only: the engine adds the products' part
//
// One product per step (no gate's operand is the gated state):
//   static void forward (const V* x, const V* u, const V* w, const V* s, V* n, V* saved);
//   static void backward(const V* saved, const V* w, const V* s, const V* n, const V* dn, V* d, V* ds);
// Two products (some gate's operand is the gated state, r*h in a GRU that resets before the product):
//   static void forward_gates (const V* x, const V* u, const V* s, V* saved, V& gated);
//   static void forward_state (const V* x, const V* u, const V* s, V* saved, V* n);
//   static void backward_state(const V* saved, const V* s, const V* n, const V* dn, V* d, V* ds);
//   static void backward_gates(const V* saved, const V* s, V dgated, V* d, V* ds, V& gated);
// where backward_gates receives d[] and ds[] as backward_state left them and completes them.
//
// Normalised (`normalisation` is not none): x[] and u[] are what W_ih x and W_hh h are after each was normalised over
// all gates and units of its row, multiplied by a gain and moved by the bias. The gains are the first element-wise
// weights: the input gates', then the hidden gates'; no other stand in w[], which the maths does not get (null). d[]
// holds the gradients of x[] and u[], in the first slots; those of the gains, and what lies behind the normalisation,
// are the engine's.
//   products            forward and backward as for one product
//   products_and_inner  the maths is cut at one more value m that is normalised over the units, to y, with the last
//                       two element-wise weights as gain and shift:
//   static void forward_gates (const V* x, const V* u, const V* s, V* saved, V& m);
//   static void forward_state (const V* saved, V m, V y, V* n);
//   static void backward_state(const V* saved, V y, const V* dn, V* d, V& dy);
//   static void backward_gates(const V* saved, const V* s, const V* dn, V dm, V* d, V* ds);
// where backward_gates receives d[] as backward_state left it; dm is what came through the normalisation.
//
// A cell some of whose gates multiply neither h nor the gated state makes feedback_count vectors of its new states
// for the products of the next step:
//   static void feedback         (const V* n, V* vectors);
//   static void feedback_backward(const V* n, const V* d_vectors, V* dn);      adds to dn
//
// A projected cell's h is not n[0] but W_hr n[0], for another product after the cell. Its forward must not read s[0],
// since h has another size than the unit's other states; its ds[0] is not read.
//
// Settings are numbers of a call that some calls have (a bound on c). Such a cell's maths is forward<true> and
// backward<true> for them, which find the numbers behind the element-wise weights, w[diagonals + k].
#pragma once

#include "../math/target.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// What of x feeds a gate.
enum class Input {
    none,
    projected,  // a row of weight_ih
    direct,     // x itself, for I = H
};

// Which vector a gate's recurrent weight multiplies.
enum class Operand { none, hidden, feedback, gated };

// What reads x[g] + u[g]: sigmoids alone, whose slope is a quarter at most, or anything. An error of x comes to little
// behind a sigmoid, so that int8 makes less of x there (cpu/low/kernels.h).
enum class Reader { any, sigmoid };

struct Gate {
    const char* name;
    Input input;
    Operand operand;  // what its recurrent weight multiplies
    int dx;           // gradient slot of x[g]
    int du;           // gradient slot of u[g]
    Reader reader = Reader::any;
};

// An element-wise weight's value before training: drawn as the matrices are, or one number.
enum class Initial { drawn, zero, one };

// An element-wise weight, and all of a cell's, in the order of w[].
struct Diagonal {
    const char* name = nullptr;
    int slot = 0;  // gradient slot
    Initial initial = Initial::drawn;
};
struct DiagonalList {
    int count = 0;
    Diagonal diagonal[10] = {};
};

// What is normalised over a row: nothing; W_ih x and W_hh h; and one value inside the cell too.
enum class Normalisation { none, products, products_and_inner };

// (sizeof, not std::extent_v: Clang completes the type of `gates[] = {...}` in a template only when it must.)
template <class Cell>
inline constexpr int gate_count = static_cast<int>(sizeof(Cell::gates) / sizeof(Gate));

template <class Cell>
inline constexpr int state_count = static_cast<int>(sizeof(Cell::states) / sizeof(const char*));

template <class Cell>
constexpr int count_diagonals() {
    if constexpr (requires { Cell::diagonals; }) return Cell::diagonals.count;
    return 0;
}
template <class Cell>
inline constexpr int diagonal_count = count_diagonals<Cell>();

template <class Cell>
constexpr int count_feedback() {
    if constexpr (requires { Cell::feedback_count; }) return Cell::feedback_count;
    return 0;
}
template <class Cell>
inline constexpr int feedback_count = count_feedback<Cell>();

// Names of the settings, in the order of w[].
struct SettingList {
    int count = 0;
    const char* name[2] = {};
};
template <class Cell>
constexpr SettingList find_settings() {
    if constexpr (requires { Cell::settings; }) return Cell::settings;
    return {};
}
template <class Cell>
inline constexpr int setting_count = find_settings<Cell>().count;

template <class Cell>
constexpr bool is_projected() {
    if constexpr (requires { Cell::projection; }) return Cell::projection;
    return false;
}
template <class Cell>
inline constexpr bool projected = is_projected<Cell>();

// Whether a mask may keep a state's old value, and whether a state is a sum of positive terms. A cell says nothing
// where all states may be zoned and none is such a sum.
struct StateFlags {
    bool zoned = true;
    bool positive = false;
};
template <class Cell>
constexpr StateFlags flags_of_state(int state) {
    StateFlags flags{};
    if constexpr (requires { Cell::state_flags; }) flags = Cell::state_flags[state];
    if (projected<Cell> && state == 0) flags.zoned = false;  // h is a product: no unit has a value to keep
    return flags;
}

// The gates that satisfy a predicate, in table order.
struct GateList {
    int count = 0;
    int gate[16] = {};
};

template <class Cell, class Predicate>
constexpr GateList select_gates(Predicate predicate) {
    GateList list;
    for (int g = 0; g < gate_count<Cell>; ++g)
        if (predicate(Cell::gates[g])) list.gate[list.count++] = g;
    return list;
}

template <class Cell>
inline constexpr GateList input_gates = select_gates<Cell>([](Gate g) { return g.input == Input::projected; });
template <class Cell>
inline constexpr GateList direct_gates = select_gates<Cell>([](Gate g) { return g.input == Input::direct; });
template <class Cell>
inline constexpr GateList hidden_gates = select_gates<Cell>([](Gate g) { return g.operand == Operand::hidden; });
template <class Cell>
inline constexpr GateList feedback_gates = select_gates<Cell>([](Gate g) { return g.operand == Operand::feedback; });
template <class Cell>
inline constexpr GateList gated_gates = select_gates<Cell>([](Gate g) { return g.operand == Operand::gated; });

// Weights of several feedback vectors are a matrix of their own, weight_gg; one vector's stand in weight_hh.
template <class Cell>
inline constexpr bool own_feedback_weight = feedback_count<Cell> > 1;

// The rows of weight_hh: every gate whose operand is a vector of H.
template <class Cell>
inline constexpr GateList recurrent_gates = select_gates<Cell>(
    [](Gate g) { return g.operand == Operand::feedback ? !own_feedback_weight<Cell> : g.operand != Operand::none; });

template <class Cell>
inline constexpr bool two_products = gated_gates<Cell>.count > 0;

// The gradient slots that the product of the gated state reads, a bit for each.
template <class Cell>
constexpr unsigned long long find_gated_slots() {
    unsigned long long slots = 0;
    for (int i = 0; i < gated_gates<Cell>.count; ++i) slots |= 1ULL << Cell::gates[gated_gates<Cell>.gate[i]].du;
    return slots;
}
template <class Cell>
inline constexpr unsigned long long gated_slots = find_gated_slots<Cell>();

template <class Cell>
constexpr Normalisation find_normalisation() {
    if constexpr (requires { Cell::normalisation; }) return Cell::normalisation;
    return Normalisation::none;
}
template <class Cell>
inline constexpr bool normalised = find_normalisation<Cell>() != Normalisation::none;
template <class Cell>
inline constexpr bool normalises_inner = find_normalisation<Cell>() == Normalisation::products_and_inner;

// The place of gate g in a list, or -1.
constexpr int position(const GateList& list, int gate) {
    for (int i = 0; i < list.count; ++i)
        if (list.gate[i] == gate) return i;
    return -1;
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
