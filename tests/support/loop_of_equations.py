"""A layer of a cell's equations as a plain loop in NumPy: forward, and backward by the derived gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rnnkernels.equations.evaluating import evaluate

if TYPE_CHECKING:
    from random_equations import Points

    from rnnkernels.equations.graph import Node
    from rnnkernels.equations.operations import Array
    from rnnkernels.equations.program import Lowered


def block_diagonal(rows: Array, heads: int) -> Array:
    """Return the square matrix of a gate's blocks (H, H / heads)."""
    size = len(rows) // heads
    made = np.zeros((len(rows), len(rows)), rows.dtype)
    for first in range(0, len(rows), size):
        made[first : first + size, first : first + size] = rows[first : first + size]
    return made


def blocks_of(square: Array, heads: int) -> Array:
    """Return the blocks (H, H / heads) of a square matrix, as `block_diagonal` takes them."""
    size = len(square) // heads
    return np.concatenate([square[at : at + size, at : at + size] for at in range(0, len(square), size)])


class Loop:
    """A layer in float64, or complex throughout; `params` as the library has them."""

    def __init__(self, lowered: Lowered, params: dict[str, Array], hidden: int) -> None:
        self.equations, self.backward_of, self.hidden = lowered.equations, lowered.backward, hidden
        self.params, self.width = params, params["weight_ih"].shape[1]
        self.d_params = {name: np.zeros_like(array) for name, array in params.items()}
        self.places: dict[str, dict[str, int]] = {"ih": {}, "hh": {}, "gg": {}}
        gates = self.equations.gates
        self.places["ih"] = {gate: at for at, gate in enumerate(g for g in gates if g in self.equations.inputs)}
        several = {g for product in self.equations.products if len(product.operands) > 1 for g in product.gates}
        own = {g for product in self.equations.products if len(product.operands) == 1 for g in product.gates}
        self.places["hh"] = {gate: at for at, gate in enumerate(g for g in gates if g in own)}
        self.places["gg"] = {gate: at for at, gate in enumerate(g for g in gates if g in several)}

    def rows(self, matrix: str, gate: str) -> slice:
        at = self.places[matrix][gate] * self.hidden
        return slice(at, at + self.hidden)

    def multiply(self, matrix: str, gate: str, vector: Array) -> Array:
        rows, bias = self.rows(matrix, gate), self.params.get(f"bias_{matrix}")
        result: Array = vector @ self.dense(matrix, self.params[f"weight_{matrix}"][rows]).T
        return result if bias is None else result + bias[rows]

    def dense(self, matrix: str, rows: Array) -> Array:
        """Return a gate's rows, those of several heads as the block-diagonal matrix that they stand for."""
        heads = self.equations.heads if matrix == "hh" else 1
        return rows if heads == 1 else block_diagonal(rows, heads)

    def multiply_back(self, matrix: str, gate: str, vector: Array, d: Array) -> Array:
        """Add to the matrix's gradient and return the vector's."""
        rows = self.rows(matrix, gate)
        of_dense = d.T @ vector
        heads = self.equations.heads if matrix == "hh" else 1
        self.d_params[f"weight_{matrix}"][rows] += of_dense if heads == 1 else blocks_of(of_dense, heads)
        if f"bias_{matrix}" in self.d_params:
            self.d_params[f"bias_{matrix}"][rows] += d.sum(axis=0)
        back: Array = d @ self.dense(matrix, self.params[f"weight_{matrix}"][rows])
        return back

    def step(self, x: Array, states: list[Array]) -> Points:
        """Return the leaves of a step."""
        equations = self.equations
        leaves: Points = {("state", number): state for number, state in enumerate(states)}
        leaves["direct", None] = x[..., : self.hidden]
        x, *elements = np.split(x, range(self.width, x.shape[-1], self.hidden), axis=-1)
        leaves.update({("step", name): element for name, element in zip(equations.steps, elements, strict=True)})
        leaves.update({("input", gate): self.multiply("ih", gate, x) for gate in equations.inputs})
        for place, name in enumerate(equations.weights):
            row = self.params["weight_diagonal"].reshape(-1, self.hidden)[place]
            leaves["weight", name] = np.broadcast_to(row, states[0].shape)
        for number, product in enumerate(equations.products):
            vector = self.operand(number, leaves)
            matrix = "hh" if len(product.operands) == 1 else "gg"
            leaves.update({("product", (number, gate)): self.multiply(matrix, gate, vector) for gate in product.gates})
        return leaves

    def operand(self, number: int, leaves: Points) -> Array:
        shape = leaves["state", 0].shape
        parts = evaluate(self.equations.products[number].operands, leaves)
        return np.concatenate([np.broadcast_to(part, shape) for part in parts], axis=-1)

    def forward(self, x: Array, states: list[Array], output: int = 0) -> list[Array]:
        """Return a state, h, after every step (T, B, H)."""
        self.steps, outputs = [], []
        for x_t in x:
            leaves = self.step(x_t, states)
            self.steps.append((x_t, leaves))
            states = [np.broadcast_to(state, states[0].shape) for state in evaluate(self.equations.new, leaves)]
            outputs.append(states[output])
        return outputs

    def backward(self, d_outputs: Array, output: int = 0) -> tuple[Array, list[Array]]:
        """Return dL/dx and dL/d(initial states); `d_params` holds the parameters'. Of the output state `d_outputs`."""
        equations, of = self.equations, self.backward_of
        shape = d_outputs[0].shape
        carry = [np.zeros(shape) for _ in equations.states]
        d_x = []
        for (x_t, leaves), d_out in zip(reversed(self.steps), d_outputs[::-1], strict=True):
            leaves.update({("d_new", number): d for number, d in enumerate(carry)})
            leaves["d_new", output] = leaves["d_new", output] + d_out

            def value(node: Node | None, leaves: Points = leaves) -> Array:
                return np.broadcast_to(evaluate([node], leaves)[0], shape) if node else np.zeros(shape)

            received: dict[int, Array] = {}
            for number in sorted(range(len(of.products)), key=lambda n: equations.products[n].kind != "gated"):
                product, vector = equations.products[number], self.operand(number, leaves)
                matrix = "hh" if len(product.operands) == 1 else "gg"
                back = np.zeros_like(vector)
                for gate in product.gates:
                    back += self.multiply_back(matrix, gate, vector, value(of.products[number][gate]))
                received[number] = back
                for place, part in enumerate(np.split(back, len(product.operands), axis=-1)):
                    leaves["d_operand", (number, place)] = part
            d_x_t = value(of.direct) if of.direct else np.zeros_like(x_t[..., : self.width])
            for gate in equations.inputs:
                d_x_t = d_x_t + self.multiply_back("ih", gate, x_t[..., : self.width], value(of.inputs[gate]))
            d_x.append(np.concatenate([d_x_t, *(value(of.steps[name]) for name in equations.steps)], axis=-1))
            for place, name in enumerate(equations.weights):
                d_weight = self.d_params["weight_diagonal"].reshape(-1, self.hidden)
                d_weight[place] += value(of.weights[name]).sum(axis=0)
            carry = [value(node) for node in of.states]
            for number, product in enumerate(equations.products):
                if product.kind == "hidden":
                    carry[0] = carry[0] + received[number]
            # What is fed back was made of the states before the step, and belongs to their gradients.
            leaves.update({("d_new", number): d for number, d in enumerate(carry)})
            carry = [value(of.fed_back[state]) if state in of.fed_back else d for state, d in enumerate(carry)]
        return np.array(d_x[::-1]), carry
