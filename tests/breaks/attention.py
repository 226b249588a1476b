"""Breaks of the attending recurrence, in the Python around it and in the CPU's engine."""

from .record import CPU, EMULATED, Break

P = "python/rnnkernels/attention"
C = "csrc/cpu"
T = "tests/kernels/test_attention.py"

BREAKS = [
    # ---- the Python
    Break(
        "attention: the keys' gradient does not reach the features",
        f"{P}/recurrence.py",
        "d_features = d.features + product(d.keys, key)",
        "d_features = d.features",
        T,
    ),
    Break(
        "attention: the gradient of weight_key reads places that nobody looks at",
        f"{P}/recurrence.py",
        "places[mask == 0] = 0",
        "places[mask == 2] = 0",
        T,
    ),
    Break(
        "attention: the states of a ragged run are those of its sequences",
        f"{P}/recurrence.py",
        "ended = final if begun.schedule is None else begun.schedule.end(final, initial)",
        "ended = final",
        T,
    ),
    Break(
        "attention: dot scores are not divided by the root of A",
        f"{P}/arguments.py",
        "else 1.0 / math.sqrt(len(key))",
        "else 1.0",
        T,
    ),
    Break(
        "attention: a mask without a place passes",
        f"{P}/arguments.py",
        "if len(without):",
        "if len(without) > len(found):",
        "tests/python/test_attention_misfits.py",
    ),
    Break(
        "attention: a stepper draws as in its first step",
        f"{P}/stepper.py",
        "hard=hard and (hard[0], self._steps)",
        "hard=hard and (hard[0], 0)",
        T,
    ),
    Break(
        "attention: a stepper forgets where it looked",
        f"{P}/stepper.py",
        "self.state, self._location = state, attended.location",
        "self.state, self._location = state, None",
        T,
    ),
    Break(
        "attention: weights are drawn by the number of their rows",
        f"{P}/parameters.py",
        "summed = math.prod(rows[1:]) * last",
        "summed = math.prod(rows)",
        T,
    ),
    Break(
        "reference: location taps are the other way round",
        "python/rnnkernels/reference/attention.py",
        "padded[..., c, k : k + count, None]",
        "padded[..., c, width - 1 - k : width - 1 - k + count, None]",
        "tests/reference/test_reference_attention.py",
    ),
    Break(
        "reference: a reset does not forget where a row looked",
        "python/rnnkernels/reference/attention.py",
        "states, location = tuple(s[..., row, :] for s in reset), nothing_yet",
        "states = tuple(s[..., row, :] for s in reset)",
        "tests/reference/test_reference_attention.py",
    ),
    Break(
        "attention: floats of a GPU are taken for the host's",
        f"{P}/arguments.py",
        "attention, found, columns - places.shape[2], dtype)",
        "attention, found, columns - places.shape[2], layer.weight_ih.dtype)",
        "tests/cuda/test_cuda_attention.py",
        EMULATED,
    ),
    # ---- the engine
    Break(
        "attention: the softmax does not take the largest score away",
        f"{C}/attention_row.h",
        "exp(V::load(alpha + i) - V(most))",
        "exp(V::load(alpha + i))",
        T,
        CPU,
    ),
    Break(
        "attention: places that a mask forbids have a weight",
        f"{C}/attention_row.h",
        "if (of_.mask) e = e * V::load(of_.mask + i, a_.places - i);",
        "",
        T,
        CPU,
    ),
    Break(
        "attention: draws lean to the first places",
        "csrc/recurrence/draw.h",
        "sum += here;",
        "sum += 1.1 * here;",
        T,
        CPU,
    ),
    Break(
        "attention: every step draws the same",
        f"{C}/attending_forward.h",
        "uniform_of<T>(a, place)",
        "uniform_of<T>(a, place % a.batch)",
        T,
        CPU,
    ),
    Break(
        "attention: the sum of all weights before is not handed on",
        f"{C}/attending_backward.h",
        "i < tapped_row(a) ? scratch.dbefore[i] : carried[i] + scratch.dbefore[i]",
        "scratch.dbefore[i]",
        T,
        CPU,
    ),
    Break(
        "attention: the gate's slope is that of a line",
        f"{C}/attending_backward.h",
        "dbeta * beta * (T(1) - beta)",
        "dbeta * beta",
        T,
        CPU,
    ),
    Break(
        "attention: a gradient of the weights is not heard",
        f"{C}/attending_backward.h",
        "if (given) de[i] += given[i];",
        "if (given) de[i] += T(0) * given[i];",
        T,
        CPU,
    ),
    Break(
        "attention: what was drawn does not get the gradient of the context",
        f"{C}/attention_row.h",
        "add_scaled(beta, dcontext, a_.features, dvalues + place * a_.features);",
        "add_scaled(beta, dcontext, a_.features, dvalues);",
        T,
        CPU,
    ),
    Break(
        "attention: sequences of a row add to its gradients on several threads",
        f"{C}/attending_backward.h",
        "if (place(t, row) % batch % part_.parts != part_.number) return;",
        "if (row % (batch ? part_.parts : 1) != part_.number) return;",
        T,
        CPU,
    ),
]
