"""Breaks of `rnnkernels.torch.AttentionRecurrent`: its call, its derivatives, its loop."""

from .record import CPU, EMULATED, Break

P = "python/rnnkernels/torch"
TESTS = "tests/torch/test_torch_attention.py"
DERIVATIVES = "tests/torch/test_torch_attention_derivatives.py"
MODELS = "tests/torch/test_torch_attention_models.py"
MANNERS = "tests/torch/test_torch_attention_manners.py"
NOISE = "tests/torch/test_torch_attention_noise.py"
STEPS = "tests/torch/test_torch_attention_steps.py"
ON_GPU = "tests/cuda/test_cuda_attention_torch.py"

BREAKS = [
    Break(
        "torch: attention: dot scores are not scaled",
        f"{P}/attention_kernels.py",
        "1.0 / math.sqrt(keys.shape[2]) if dot else 1.0",
        "1.0",
        f"{TESTS} -k every_form",
    ),
    Break(
        "torch: attention: the gradient of keys that are the features is dropped",
        f"{P}/attention_kernels.py",
        "[d.features + d.keys]",
        "[d.features]",
        f"{TESTS} -k the_loop_agrees",
    ),
    Break(
        "torch: attention: nobody notices results that were changed in place",
        f"{P}/attention_autograd.py",
        "ctx.save_for_backward(*tensors, results[0], *results[-2:], *places)",
        "ctx.save_for_backward(*tensors, *(r.data for r in (results[0], *results[-2:])), *places)",
        f"{DERIVATIVES} -k in_place",
    ),
    Break(
        "torch: attention: a stepper draws the first step's place again and again",
        f"{P}/attention_stepper.py",
        "asked._replace(first_step=self._count)",
        "asked",
        f"{STEPS} -k stepper",
    ),
    Break(
        "torch: attention: a step that a row does not have has the logarithm of 0",
        f"{P}/attention.py",
        "torch.where(done.places >= 0, chosen, 1.0).log()",
        "chosen.log()",
        f"{TESTS} -k every_form",
    ),
    Break(
        "torch: attention: a mask without a place runs",
        f"{P}/attention_kernels.py",
        "if mask is not None and not kernels._on_gpu(mask) and not bool(mask.any(1).all()):",
        "if False:",
        f"{MANNERS} -k words",
    ),
    Break(
        "torch: attention: resets leave the weights of earlier steps in the loop",
        f"{P}/attention_loop.py",
        "seen = None if seen is None else _pick(reset, nothing, seen)",
        "pass",
        f"{TESTS} -k ragged",
    ),
    Break(
        "torch: attention: the context's gradient goes to the weights of hard attention in the loop",
        f"{P}/attention_loop.py",
        "context = self.features[self.rows, place]",
        "context = self.features[self.rows, place] * (alpha / alpha.detach()).gather(1, place[:, None])",
        f"{TESTS} -k the_loop_agrees",
    ),
    Break(
        "torch: attention: torch.func.grad takes the loop",
        f"{P}/attention_autograd.py",
        "                if batched\n",
        "                if batched or transforms.at_work()\n",
        f"{DERIVATIVES} -k transforms",
    ),
    Break(
        "torch: attention: second derivatives draw again",
        f"{P}/attention_autograd.py",
        'layout._replace(options=(*layout.options, "places"))',
        'layout._replace(asked=layout.asked._replace(hard=False), options=(*layout.options, "places"))',
        f"{DERIVATIVES} -k second",
    ),
    Break(
        "torch: attention: a compiled layer forgets the mask",
        f"{P}/attention_operators.py",
        "options = (getattr(given, name) for name in _OPTIONS)",
        'options = (None if name == "mask" else getattr(given, name) for name in _OPTIONS)',
        f"{MODELS} -k compiled",
    ),
    Break(
        "torch: attention: an operator's size is another than its fake's",
        f"{P}/attention_kernels.py",
        "return of_row, behind + owner",
        "return of_row + 8, behind + owner",
        f"{MODELS} -k whole",
    ),
    Break(
        "torch: attention: contexts are not counted",
        f"{P}/attention_operators.py",
        "+ count * width * (not asked.hard)",
        "",
        f"{MODELS} -k counted",
    ),
    Break(
        "torch: attention: what stands where nobody looks reaches the gradient of weight_key",
        f"{P}/attention.py",
        "torch.where(mask.unsqueeze(2), features, 0.0)",
        "features",
        f"{MANNERS} -k nobody_looks",
    ),
    Break(
        "torch: attention: a gradient of weights that are 0 reaches the scores in the loop",
        f"{P}/attention_loop.py",
        ", 1).masked_fill(self.forbidden, 0.0)",
        ", 1)",
        f"{MANNERS} -k second",
    ),
    # ---- masks inside the recurrence
    Break(
        "torch: attention: the kernels draw no masks",
        f"{P}/attention_kernels.py",
        "noise = None if asked.noise is None else _settled(asked, given)",
        "noise = None",
        f"{NOISE} -k numpy_side",
    ),
    Break(
        "torch: attention: a stepper's masks are the first step's",
        f"{P}/attention_kernels.py",
        "first_step=asked.first_step, batch",
        "first_step=0, batch",
        f"{NOISE} -k stepper",
    ),
    Break(
        "torch: attention: the loop has no expectation of masks",
        f"{P}/attention_loop.py",
        "return made if self.noise is None else",
        "return made if True else",
        f"{NOISE} -k derivatives",
    ),
    Break(
        "torch: attention: the loop leaves masks out",
        f"{P}/attention_loop.py",
        "if asked.noise is not None and not asked.noise.expected:",
        "if False:",
        f"{NOISE} -k derivatives",
    ),
    Break(
        "torch: attention: an operator does not see that units keep their value",
        f"{P}/attention_kernels.py",
        "zones = asked.noise is not None and asked.noise.keeps_units",
        "zones = False",
        f"{NOISE} -k whole",
    ),
    Break(
        "attention: the bytes of a row leave out what units that keep their value need",
        "csrc/binding/calls.cpp",
        "reserve_size(cell, hidden, dtype, zones) + query_bytes",
        "reserve_size(cell, hidden, dtype, false) + query_bytes",
        f"{NOISE} -k whole",
        CPU,
    ),
    Break(
        "torch: attention: a compiled layer forgets its rates",
        f"{P}/attention_operators.py",
        "noise=None if given.noise_seed is None else noise",
        "noise=None",
        f"{NOISE} -k compiled",
    ),
    # ---- greedy, seeds
    Break(
        "torch: attention: greedy attention draws",
        f"{P}/attention_kernels.py",
        "seed = None if asked.greedy else",
        "seed = 0 if asked.greedy else",
        f"{STEPS} -k greedy",
    ),
    Break(
        "torch: attention: the upper half of the seeds is the lower",
        f"{P}/attention.py",
        "number - (number >> 63 << 64)",
        "number % 2**63",
        f"{STEPS} -k numpy_sides",
    ),
    # ---- on a GPU
    Break(
        "torch: attention: a call waits for a GPU to see its mask",
        f"{P}/attention_kernels.py",
        "not kernels._on_gpu(mask) and not bool",
        "not bool",
        f"{ON_GPU} -k nobody_waits",
        EMULATED,
    ),
    Break(
        "torch: attention: a row of a GPU's mask without a place gives a number",
        f"{P}/attention.py",
        "if _waited_for(features):",
        "if False:",
        f"{ON_GPU} -k nobody_waits",
        EMULATED,
    ),
    Break(
        "torch: attention: a GPU's halves are computed in float32",
        f"{P}/attention.py",
        "and not features.is_cuda",
        "",
        f"{ON_GPU} -k stays",
        EMULATED,
    ),
    Break(
        "torch: attention: states of a GPU's ragged batch are the host's",
        f"{P}/attention_kernels.py",
        "like = Like(widths, len(weight), weight.dtype, frame_of(weight))",
        "like = Like(widths, len(weight), weight.dtype)",
        f"{ON_GPU} -k loop_agrees",
        EMULATED,
    ),
    Break(
        "torch: attention: the bytes of a GPU's reserve are taken for the host's",
        f"{P}/kernels.py",
        "    if _on_gpu(memory):",
        "    if False:",
        f"{ON_GPU} -k compiled",
        EMULATED,
    ),
    Break(
        "torch: attention: the operators are the CPU's alone",
        f"{P}/attention_operators.py",
        'impl("rnnkernels::attend", ("cpu", "cuda"))',
        'impl("rnnkernels::attend", "cpu")',
        f"{ON_GPU} -k registered",
        EMULATED,
    ),
    Break(
        "torch: attention: tensors that lie apart are not noticed",
        f"{P}/attention.py",
        "        if tensor.device != device:",
        "        if False:",
        f"{ON_GPU} -k misfits",
        EMULATED,
    ),
    Break(
        "torch: attention: the loop leaves lengths and resets on the host",
        f"{P}/attention_loop.py",
        "t.to(x.device) for t in (given.lengths, given.resets)",
        "t for t in (given.lengths, given.resets)",
        f"{ON_GPU} -k of_the_host",
        EMULATED,
    ),
]
