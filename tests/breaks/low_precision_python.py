"""Breaks of products in low precision: how Python asks for them, and layers with int8 weights."""

from .record import Break

P = "python/rnnkernels"
INT8 = "tests/cpu/test_int8.py"
PRODUCTS = "tests/cpu/test_bfloat16_products.py"
PARAMS = "tests/python/test_quantize_params.py"
STACK = "tests/python/test_prepared_stack.py"
QUANTIZED = "tests/torch/test_torch_quantized.py"
IN_TORCH = "tests/torch/test_torch_products.py"

BREAKS = [
    Break(
        "products: a training run's backward has full ones",
        f"{P}/_serve.py",
        "            None,\n            products,\n",
        '            None,\n            "full",\n',
        f"{PRODUCTS} -k the_backward",
    ),
    # ---- the reference and quantised parameters
    Break(
        "reference: x has one plane for every gate",
        f"{P}/reference/low_precision.py",
        'fine if name == "weight_ih" else [False]',
        "[False]",
        f"{INT8} -k agrees",
    ),
    Break(
        "reference: integers are cut, not rounded",
        f"{P}/reference/low_precision.py",
        "integers = np.rint(exact)",
        "integers = np.trunc(exact)",
        "tests/reference/test_reference_low_precision.py",
    ),
    Break(
        "readers: a sum that is read beside a sigmoid counts as a sigmoid's",
        f"{P}/equations/readers.py",
        'reader.operation == "sigmoid" or',
        'reader.operation in ("sigmoid", "tanh") or',
        "tests/equations/test_cells.py -k readers_cells",
    ),
    Break(
        "readers: what is added up is read by no sigmoid",
        f"{P}/equations/readers.py",
        '"fma": (2,)',
        '"fma": ()',
        "tests/equations/test_cells.py -k readers_cells",
    ),
    Break(
        "quantised: the scale is of 128",
        f"{P}/quantized.py",
        "most / np.float32(LARGEST))",
        "most / np.float32(LARGEST + 1))",
        PARAMS,
    ),
    Break(
        "quantised: a scale of one's own is forgotten",
        f"{P}/quantized.py",
        "tuple(map(scales.get, MATRICES)))",
        "(None,) * len(MATRICES))",
        PARAMS,
    ),
    Break(
        "quantised: -128 is taken",
        f"{P}/quantized.py",
        "if (integers < -LARGEST).any():",
        "if False:",
        PARAMS,
    ),
    Break(
        "prepared: weights that are no numbers are quantised",
        f"{P}/prepared.py",
        "        check_finite(params)\n",
        "        pass\n",
        f"{INT8} -k wrong_use",
    ),
    # ---- products
    Break(
        "products: layers side by side have full ones",
        f"{P}/functional.py",
        "bool(training), drawn, settings, products)",
        'bool(training), drawn, settings, "full")',
        f"{PRODUCTS} -k small_layers",
    ),
    Break(
        "products: a window of a driver has full ones",
        f"{P}/bptt.py",
        '            options["products"] = self.products\n',
        "            pass\n",
        f"{PRODUCTS} -k driver",
    ),
    Break(
        "products: autocast has full ones",
        f"{P}/torch/autocast.py",
        'asked._replace(products="bfloat16") if rounds',
        "asked if rounds",
        f"{IN_TORCH} -k autocast",
    ),
    Break(
        "products: swap forgets them",
        f"{P}/torch/swapping.py",
        "module.allow_torch, module.products, module.trust_versions = allow_torch, products, trust_versions",
        "module.allow_torch, module.trust_versions = allow_torch, trust_versions",
        f"{IN_TORCH} -k swap",
    ),
    # ---- layers on layers, in PyTorch
    Break(
        "prepared stack: the reverse direction runs forwards",
        f"{P}/prepared_stack.py",
        '"reverse": k % self.num_directions == 1',
        '"reverse": False',
        STACK,
    ),
    Break(
        "prepared stack: a reset that fails has changed a layer",
        f"{P}/prepared_stack.py",
        "enumerate(begun or ())",
        "enumerate(())",
        STACK,
    ),
    Break(
        "packed: weights that changed in place are not seen",
        f"{P}/torch/packed.py",
        "found.versions == versions and found.alive",
        "found.alive",
        QUANTIZED,
    ),
    Break(
        "packed: a layer is packed in every call",
        f"{P}/torch/packed.py",
        "    _packed[key] = _Packed(",
        "    _Packed(",
        QUANTIZED,
    ),
    Break(
        "quantised layer: a gradient is lost in silence",
        f"{P}/torch/quantized.py",
        "if torch.is_grad_enabled() and any(",
        "if False and any(",
        QUANTIZED,
    ),
    Break(
        "quantised layer: torch.nn's name of the state is not read",
        f"{P}/torch/quantized.py",
        "return hx if state is None else state",
        "return state",
        QUANTIZED,
    ),
    Break(
        "quantize_dynamic: our layers are asked for, whatever is",
        f"{P}/torch/ao.py",
        "for kind in kinds if kind in of_classes), None)",
        "for kind in of_classes), None)",
        QUANTIZED,
    ),
    Break(
        "quantize_dynamic: our classes are not in its table",
        f"{P}/torch/ao.py",
        "    _TABLE.update(kinds)",
        "    _TABLE.update({})",
        QUANTIZED,
    ),
]
