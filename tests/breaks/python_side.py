"""Breaks of the Python above the kernels."""

from .record import Break

P = "python/rnnkernels"

BREAKS = [
    # ---- schedule, ragged, memory
    Break(
        "a reset state is a row's own",
        f"{P}/schedule.py",
        "to[chosen] = source[self.owner[chosen]]",
        "to[chosen] = source[self.owner[chosen] * 0]",
        "tests/kernels/test_ragged.py",
    ),
    Break(
        "a row without steps loses its initial state",
        f"{P}/schedule.py",
        "else frame.copy(initial[k])",
        "else frame.zeros(initial[k].shape, initial[k].dtype)",
        "tests/kernels/test_ragged.py",
    ),
    Break(
        "the gradient of a reset state is of its last row alone",
        f"{P}/schedule.py",
        "frame.add_at(of_reset, self.owner[self.fresh], d[self.fresh])",
        "of_reset[self.owner[self.fresh]] = d[self.fresh]",
        "tests/kernels/test_ragged.py",
    ),
    Break(
        "a row without steps does not hand its gradient through",
        f"{P}/schedule.py",
        "of_initial[~ran] = d_state[k][~ran]",
        "of_initial[~ran] = 0",
        "tests/kernels/test_ragged.py",
    ),
    Break(
        "replay: pieces have the masks of the first",
        f"{P}/memory/replay.py",
        "first_step=asked.noise.first_step + begin",
        "first_step=asked.noise.first_step",
        "tests/kernels/test_states.py",
    ),
    Break(
        "replay: a piece's lengths are the sequence's",
        f"{P}/memory/replay.py",
        "np.clip(asked.lengths, begin, part.stop) - begin",
        "np.clip(asked.lengths, 0, part.stop - begin)",
        "tests/python/test_replay.py",
    ),
    Break(
        "replay: the parameters' gradients are the last piece's",
        f"{P}/memory/replay.py",
        "value + earlier.params[name] for name, value",
        "value for name, value",
        "tests/python/test_replay.py",
    ),
    Break(
        "replay: the reverse direction runs its pieces forwards",
        f"{P}/memory/replay.py",
        "return pieces[::-1] if asked.reverse else pieces",
        "return pieces",
        "tests/python/test_replay.py",
    ),
    # ---- noise, prepared
    Break(
        "noise: a later call begins one step early",
        f"{P}/noise.py",
        "return replace(self, first_step=self.first_step + steps)",
        "return replace(self, first_step=self.first_step + max(0, steps - 1))",
        "tests/kernels/test_noise.py",
    ),
    Break(
        "prepared: masks are drawn, not expected",
        f"{P}/prepared.py",
        "self.noise._drawn(self.cell, batch, expected=True)",
        "self.noise._drawn(self.cell, batch, expected=False)",
        "tests/kernels/test_noise.py",
    ),
    Break(
        "prepared: rows end with the sequences' states",
        f"{P}/prepared.py",
        "begun.schedule.end(ended, initial)",
        "begun.schedule.end(ended, None)",
        "tests/kernels tests/cpu/test_prepared.py",
    ),
    # ---- stack, bptt
    Break(
        "stack: layers share their masks",
        f"{P}/stack.py",
        "replace(self.noise, seed=seed, layer=number)",
        "replace(self.noise, seed=seed, layer=0)",
        "tests/python/test_stack.py tests/python/test_stack_sequences.py",
    ),
    Break(
        "stack: the backward drops other elements",
        f"{P}/stack.py",
        "above = drop(above, self.dropout, run._seed, layer * self.num_directions)",
        "above = drop(above, self.dropout, run._seed, layer * self.num_directions + 1)",
        "tests/python/test_stack.py",
    ),
    Break(
        "stack: two directions' gradients of x are one's",
        f"{P}/stack.py",
        "above = _sum(dx[::-1])",
        "above = _sum(dx[:1])",
        "tests/python",
    ),
    Break(
        "stack: a step forgets the states of upper layers",
        f"{P}/stack.py",
        "functional.step(self.cell, x_t, self._layer(end), before,",
        "functional.step(self.cell, x_t, self._layer(end), before if end == '_l0' else None,",
        "tests/python/test_stack.py",
    ),
    Break(
        "bptt: errors reach one step too far",
        f"{P}/bptt.py",
        "split = max(0, end + k1 - k2) - (end - len(x))",
        "split = max(0, end + k1 - k2 - 1) - (end - len(x))",
        "tests/python/test_bptt.py",
    ),
    Break(
        "bptt: a window begins from the state before the last",
        f"{P}/bptt.py",
        "carried = runs[0].state if split else state",
        "carried = runs[-1].state if split else state",
        "tests/python/test_bptt.py",
    ),
    Break(
        "bptt: the windows' own gradients are not summed",
        f"{P}/bptt.py",
        "Result(total.loss + part.loss, _add(total.grads, part.grads), part.state, 0)",
        "Result(total.loss + part.loss, part.grads, part.state, 0)",
        "tests/python/test_bptt.py",
    ),
    # ---- PyTorch, JAX
    Break(
        "torch: gradients of the states' sequences are lost",
        f"{P}/torch/autograd.py",
        "found = kept.backward(d_results[0], d_results[1 : count + 1], d_results[count + 1 : -1], final, need_x)",
        "nothing = (None,) * (len(d_results) - count - 2)\n"
        "        found = kept.backward(d_results[0], d_results[1 : count + 1], nothing, final, need_x)",
        "tests/torch",
    ),
    Break(
        "torch: vmap tiles the lengths row by row",
        f"{P}/torch/autograd.py",
        "return None if rows is None else np.concatenate([rows] * count, axis)",
        "return None if rows is None else np.repeat(rows, count, axis)",
        "tests/torch/test_torch_recurrent.py",
    ),
    Break(
        "torch: an operator forgets that it has to keep",
        f"{P}/torch/operators.py",
        "keep = recorded and not torch.compiler.is_exporting()",
        "keep = not recorded and not torch.compiler.is_exporting()",
        "tests/torch/test_torch_operators.py tests/torch/test_torch_compile.py",
    ),
    Break(
        "jax: vmap puts the samples behind the rows",
        f"{P}/jax/_rules.py",
        "output = output.reshape(steps, size, batch, output.shape[-1])",
        "output = output.reshape(steps, batch, size, output.shape[-1]).swapaxes(1, 2)",
        "tests/jax",
    ),
    Break(
        "jax: dx is that of the first parameter",
        f"{P}/jax/_rules.py",
        "dx = found.pop(0) if wants_dx else None",
        "dx = found.pop(0) * 2 if wants_dx else None",
        "tests/jax",
    ),
    # ---- the reference
    Break(
        "reference: masks of a row's steps are all the first's",
        f"{P}/reference/masks.py",
        "step = t + self.noise.first_step\n",
        "step = self.noise.first_step\n",
        "tests/kernels/test_noise.py",
    ),
]
