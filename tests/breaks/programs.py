"""Breaks of what programs are written with: the readout, initial values, drivers, terms, texts of results."""

from .record import CPU, Break

P = "python/rnnkernels"

BREAKS = [
    # ---- readout
    Break(
        "readout: a mean is over all rows",
        f"{P}/readout.py",
        "        return rows, wanted, counts, len(rows)\n",
        "        return rows, wanted, counts, h.size // h.shape[-1]\n",
        "tests/python/test_readout.py",
    ),
    Break(
        "readout: lengths count one step more",
        f"{P}/_targets.py",
        "np.less.outer(",
        "np.less_equal.outer(",
        "tests/python/test_readout.py",
    ),
    Break(
        "readout: the gradient of the squared error lacks its factor",
        f"{P}/readout.py",
        "y *= 2 / count",
        "y *= 1 / count",
        "tests/python/test_readout.py",
    ),
    Break(
        "readout: the largest logit is not taken off",
        f"{P}/readout.py",
        "    y -= largest  # the largest becomes 0: exp cannot overflow\n",
        "    largest *= 0\n",
        "tests/python/test_readout.py -k overflows",
    ),
    Break(
        "readout: what was returned is written to again",
        f"{P}/readout.py",
        "        if not self._reuse:\n",
        "        if False:\n",
        "tests/python/test_readout.py -k fresh",
    ),
    Break(
        "readout: draws are a class too far",
        f"{P}/_draws.py",
        "np.count_nonzero(cumulative <= drawn[:, None], axis=1)",
        "np.count_nonzero(cumulative <= drawn[:, None], axis=1) + 1",
        "tests/python/test_readout.py -k draws",
    ),
    Break(
        "readout: targets are not looked at",
        f"{P}/readout.py",
        "if low < 0 or high >= self.output_size:",
        "if low < -self.output_size or high >= self.output_size:",
        "tests/python/test_readout.py -k fit",
    ),
    Break(
        "readout: a window has the targets of the first one",
        f"{P}/readout.py",
        "wanted[start:stop], mask=rows",
        "wanted[: stop - start], mask=rows",
        "tests/python/test_readout.py -k against",
    ),
    Break(
        "readout: a window in which no row counts is refused",
        f"{P}/readout.py",
        'over = "sum" if rows is not None and not rows.any() else reduction',
        "over = reduction",
        "tests/python/test_readout.py -k against",
    ),
    # ---- memory
    Break(
        "stack: a layer's output is not counted as memory",
        f"{P}/memory/__init__.py",
        "total = kept * self.layers * self.ways + piece",
        "total = (kept - output) * self.layers * self.ways + piece",
        "tests/python/test_training_bytes.py",
    ),
    Break(
        "stack: a backward keeps every layer's gradient of its input",
        f"{P}/stack.py",
        "found.append(replace(grads, x=None))",
        "found.append(grads)",
        "tests/python/test_training_bytes.py",
    ),
    # ---- bench
    Break(
        "bench: answers that differ have a time",
        f"{P}/_cli_bench.py",
        "if not error < TOLERANCE:",
        "if error > 1:",
        "tests/python/test_cli_bench.py -k differ",
    ),
    Break(
        "bench: a shape's batch and steps change places",
        f"{P}/_cli_bench.py",
        "shape = Shape(*numbers)",
        "shape = Shape(numbers[1], numbers[0], *numbers[2:])",
        "tests/python/test_cli_bench.py",
    ),
    Break(
        "benchmarks: a shape of a user's own is forgotten",
        "benchmarks/grid.py",
        "    if not job.own_shapes:\n",
        "    if job.own_shapes:\n",
        "tests/house/test_benchmarks.py -k own",
    ),
    # ---- initial values
    Break(
        "initial: an orthogonal matrix is one for all gates",
        f"{P}/_initial.py",
        "block = values[first : first + size]",
        "block = values[:size]",
        "tests/python/test_initial.py",
    ),
    Break(
        "initial: orthogonal matrices lean to one side",
        f"{P}/_initial.py",
        "tall[:] = q * np.sign(np.diagonal(r))",
        "tall[:] = q",
        "tests/python/test_initial.py -k likely",
    ),
    Break(
        "initial: the forget bias is on top of a drawn one",
        f"{P}/_initial.py",
        'forget_bias if name.startswith("bias_ih") else 0',
        'forget_bias if name.startswith("bias_ih") else 0.1',
        "tests/python/test_initial.py tests/torch/test_torch_recurrent.py",
    ),
    Break(
        "initial: mgu's gate f is taken for one that keeps",
        f"{P}/_initial.py",
        '_LETS_IN = ("mgu",)',
        "_LETS_IN = ()",
        "tests/python/test_initial.py",
    ),
    Break(
        "initial: the upper layers of a stack are drawn as ever",
        f"{P}/stack.py",
        "                recurrent=recurrent,\n",
        '                recurrent=recurrent if end == "_l0" else "uniform",\n',
        "tests/python/test_initial.py -k stack",
    ),
    # ---- drivers
    Break(
        "bptt: lengths are counted from the window's start",
        f"{P}/bptt.py",
        "np.clip(self.lengths - begin, 0, len(x))",
        "np.clip(self.lengths, 0, len(x))",
        "tests/python/test_bptt_sequences.py",
    ),
    Break(
        "bptt: the second run of a window has the lengths of the first",
        f"{P}/bptt.py",
        "np.clip(self.lengths - first, 0, stop - first)",
        "np.clip(self.lengths, 0, stop - first)",
        "tests/python/test_bptt_sequences.py",
    ),
    Break(
        "bptt: the resets of steps that are run again are lost",
        f"{P}/bptt.py",
        "cut = None if cut is None else cut[split:].copy()",
        "cut = None if cut is None else cut[split:].copy() & False",
        "tests/python/test_bptt_sequences.py",
    ),
    Break(
        "bptt: the initial state has a gradient of the first window alone",
        f"{P}/bptt.py",
        "        if part.d_initial_state is not None:\n",
        "        if d_initial is None:\n",
        "tests/python/test_bptt_sequences.py",
    ),
    Break(
        "bptt: a later window's state is taken for the initial one",
        f"{P}/bptt.py",
        "d_state if start + errors == len(x) else None",
        "d_state if start >= 0 else None",
        "tests/python/test_bptt_sequences.py",
    ),
    Break(
        "bptt: the model keeps everything, whatever is asked",
        f"{P}/bptt.py",
        'options["memory"] = self.memory',
        'options["memory"] = "all"',
        "tests/python/test_bptt_sequences.py",
    ),
    # ---- terms
    Break(
        "term: a step adds none",
        f"{P}/functional.py",
        "initial, None, added, drawn, settings, products)",
        "initial, None, None, drawn, settings, products)",
        "tests/python/test_term.py",
    ),
    Break(
        "term: a stepper reads the caller's array",
        "csrc/binding/prepared.cpp",
        'term_ = py::array(term->attr("copy")());',
        "term_ = *term;",
        "tests/python/test_term.py -k own",
        CPU,
    ),
    Break(
        "term: a copy of a stepper has none",
        f"{P}/prepared.py",
        "partial(type(self), term=self._stepper.term())",
        "partial(type(self), term=None)",
        "tests/python/test_term.py -k own",
    ),
    Break(
        "term: a stack's upper layers have the first's",
        f"{P}/stack.py",
        "term=terms[number],",
        "term=terms[0],",
        "tests/python/test_term.py",
    ),
    Break(
        "term: small layers side by side are given none",
        f"{P}/stack.py",
        "reset_state is None and term is None and not all_states",
        "reset_state is None and not all_states",
        "tests/python/test_term.py",
    ),
    # ---- texts
    Break(
        "texts: a result prints its arrays",
        f"{P}/_described.py",
        'return f"{value.dtype} {tuple(value.shape)}"',
        'return f"{value!r}"',
        "tests/python/test_texts.py",
    ),
]
