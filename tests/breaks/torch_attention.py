"""Breaks of `rnnkernels.torch.AttentionRecurrent`: its call, its derivatives, its loop."""

from .record import Break

P = "python/rnnkernels/torch"
TESTS = "tests/torch/test_torch_attention.py"

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
        f"{TESTS} -k in_place",
    ),
    Break(
        "torch: attention: a stepper draws the first step's place again and again",
        f"{P}/attention.py",
        "done = layer._attend(given, self._count)",
        "done = layer._attend(given, 0)",
        f"{TESTS} -k stepper",
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
        "if mask is not None and not bool(mask.any(1).all()):",
        "if False:",
        f"{TESTS} -k words",
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
        f"{TESTS} -k transforms",
    ),
    Break(
        "torch: attention: second derivatives draw again",
        f"{P}/attention_autograd.py",
        'layout._replace(options=(*layout.options, "places"))',
        'layout._replace(asked=layout.asked._replace(hard=False), options=(*layout.options, "places"))',
        f"{TESTS} -k second",
    ),
    Break(
        "torch: attention: a compiled layer forgets the mask",
        f"{P}/attention_operators.py",
        "options = (given.mask, given.lengths,",
        "options = (None, given.lengths,",
        f"{TESTS} -k compiled",
    ),
    Break(
        "torch: attention: an operator's size is another than its fake's",
        f"{P}/attention_kernels.py",
        "return of_cell + query * like.element_size(), _BEHIND_CELL + BEHIND",
        "return of_cell + 2 * query * like.element_size(), _BEHIND_CELL + BEHIND",
        f"{TESTS} -k whole",
    ),
    Break(
        "torch: attention: contexts are not counted",
        f"{P}/attention_operators.py",
        "+ count * width * (not asked.hard)",
        "",
        f"{TESTS} -k counted",
    ),
]
