// What a cell is: a gate table and its element-wise maths, forward then backward, on a value type V.
//
// A cell knows no pointers, strides, dtypes, loops or threads: V is a SIMD vector on the CPU (a float on a
// GPU, a double in a check), one value of one unit of one row. The engines know no cell by name.
//
// The words, per unit and step:
//   x[g]      W_ih[g] x + bias_ih[g], in the order of the gate table (0 for a gate that x does not feed)
//   u[g]      W_hh[g] v + bias_hh[g], v the gate's recurrent operand (0 for a gate that has none)
//   s[], n[]  the states before and after the step, h first
//   saved[]   what the forward keeps for the backward ("reserve")
//   dn[]      dL/dn; dn[0] already holds every path into h, the next step's products included
//   d[]       gradient slots, dL/dx[g] and dL/du[g]: gate g's are d[gate.dx] and d[gate.du], one and the same
//             slot for a gate that only adds the two
//   ds[]      dL/ds along the element-wise paths only: the engine adds the products' part
//
// One product per step (no gate's operand is the gated state):
//   static void forward (const V* x, const V* u, const V* s, V* n, V* saved);
//   static void backward(const V* saved, const V* s, const V* n, const V* dn, V* d, V* ds);
// Two products (some gate's operand is the gated state, r*h in a GRU that resets before the product):
//   static void forward_gates (const V* x, const V* u, const V* s, V* saved, V& gated);
//   static void forward_state (const V* x, const V* u, const V* s, V* saved, V* n);
//   static void backward_state(const V* saved, const V* s, const V* n, const V* dn, V* d, V* ds);
//   static void backward_gates(const V* saved, const V* s, V dgated, V* d, V* ds, V& gated);
// where backward_gates receives d[] and ds[] as backward_state left them and completes them.
#pragma once

#include "../math/target.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Which vector a gate's recurrent weight multiplies.
enum class Operand { none, hidden, gated };

struct Gate {
    const char* name;
    bool input;       // x feeds it
    Operand operand;  // what its recurrent weight multiplies
    int dx;           // gradient slot of x[g]
    int du;           // gradient slot of u[g]
};

// (sizeof, not std::extent_v: Clang completes the type of `gates[] = {...}` in a template only when it must.)
template <class Cell>
inline constexpr int gate_count = static_cast<int>(sizeof(Cell::gates) / sizeof(Gate));

template <class Cell>
inline constexpr int state_count = static_cast<int>(sizeof(Cell::states) / sizeof(const char*));

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
inline constexpr GateList input_gates = select_gates<Cell>([](Gate g) { return g.input; });
template <class Cell>
inline constexpr GateList hidden_gates = select_gates<Cell>([](Gate g) { return g.operand == Operand::hidden; });
template <class Cell>
inline constexpr GateList gated_gates = select_gates<Cell>([](Gate g) { return g.operand == Operand::gated; });
// The rows of weight_hh: every gate that has an operand.
template <class Cell>
inline constexpr GateList recurrent_gates = select_gates<Cell>([](Gate g) { return g.operand != Operand::none; });

template <class Cell>
inline constexpr bool two_products = gated_gates<Cell>.count > 0;

// The place of gate g in a list, or -1.
constexpr int position(const GateList& list, int gate) {
    for (int i = 0; i < list.count; ++i)
        if (list.gate[i] == gate) return i;
    return -1;
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
