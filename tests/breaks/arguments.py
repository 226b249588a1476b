"""Breaks of what is checked of arguments, and of what is read where it lies."""

from .record import Break

P = "python/rnnkernels"
TABLE = "tests/python/test_bad_arguments.py"
MEMORY = "tests/cpu/test_array_memory.py"
TORCH = "tests/torch/test_torch_memory.py"

BREAKS = [
    # ---- memory
    Break(
        "arrays: a dtype that spells its byte order is another dtype",
        f"{P}/_arguments.py",
        "        if value.dtype != kind:",
        "        if value.dtype is not kind:",
        MEMORY,
    ),
    Break(
        "convert: arrays keep a byte order that is spelled out",
        f"{P}/_arrays.py",
        "return array if array.dtype is dtype else array.view(dtype)",
        "return array",
        MEMORY,
    ),
    Break(
        "arrays: what is not aligned is read in place",
        f"{P}/_arrays.py",
        "flags.carray or (flags.c_contiguous and flags.aligned)",
        "flags.c_contiguous",
        MEMORY,
    ),
    Break(
        "arrays: floats are copied before their shape is looked at",
        f"{P}/_arguments.py",
        "    if fits is not None:\n        fits(name, array.shape)\n    return readable(array, kind)",
        "    array = readable(array, kind)\n    if fits is not None:\n        fits(name, array.shape)\n    return array",
        MEMORY,
    ),
    Break(
        "arrays: tokens are copied before their shape is looked at",
        f"{P}/_arguments.py",
        "    if array.ndim != 1 + steps:",
        "    array = readable(array, INT64)\n    if array.ndim != 1 + steps:",
        f"{MEMORY} -k tokens",
    ),
    Break(
        "arrays: the shape of x is not looked at before it is copied",
        f"{P}/_arguments.py",
        "(vector is not None and shape[first:] != vector)",
        "False",
        MEMORY,
    ),
    Break(
        "torch: a tensor that is not aligned is read in place",
        f"{P}/torch/kernels.py",
        "if address % kind[1]:",
        "if address % kind[1] > kind[1]:",
        TORCH,
    ),
    Break(
        "torch: every tensor is copied",
        f"{P}/torch/kernels.py",
        "if address % kind[1]:",
        "if address:",
        TORCH,
    ),
    Break(
        "jax: arrays are copied before their shapes are looked at",
        f"{P}/jax/_forward.py",
        "            return value\n        return jnp.asarray(value)",
        "            return jnp.asarray(value)\n        return jnp.asarray(value)",
        "tests/jax/test_jax_bad_arguments.py",
    ),
    Break(
        "optim: parameters that share memory are updated",
        f"{P}/optim.py",
        "by == 0 and size > 1 for size, by in",
        "by == 0 and size > 99 for size, by in",
        MEMORY,
    ),
    Break(
        "a stepper's check is an assert",
        f"{P}/prepared.py",
        "        if h is None:\n            raise TypeError(",
        "        assert h is not None\n        if h is None:\n            raise TypeError(",
        "tests/house/test_python_house.py",
    ),
    Break(
        "a stepper gives None for what it cannot read",
        f"{P}/prepared.py",
        'h = self._step(as_input("x_t", x_t, layer.dtype, (layer.input_size,), steps=False))',
        "return None  # type: ignore[return-value]",
        MEMORY,
    ),
    # ---- arguments
    Break(
        "a flag is whatever is true",
        f"{P}/_scalars.py",
        "    if value is True or value is False:\n        return value\n",
        "    return bool(value)\n",
        TABLE,
    ),
    Break(
        "a number may be a text",
        f"{P}/_scalars.py",
        'hasattr(type(value), "__float__")',
        '(isinstance(value, str) or hasattr(type(value), "__float__"))',
        TABLE,
    ),
    Break(
        "a number that no float holds is an OverflowError",
        f"{P}/_scalars.py",
        "    except OverflowError:\n        raise ValueError(",
        "    except BufferError:\n        raise ValueError(",
        TABLE,
    ),
    Break(
        "an integer has no upper bound",
        f"{P}/_scalars.py",
        "    if number > high:",
        "    if number > high and high < 2**60:",
        TABLE,
    ),
    Break(
        "a class is a mapping",
        f"{P}/_scalars.py",
        'hasattr(value, "keys") and not isinstance(value, type)',
        'hasattr(value, "keys") or isinstance(value, type)',
        TABLE,
    ),
    Break(
        "a dict of states is a tuple of them",
        f"{P}/_scalars.py",
        "(str, bytes, np.ndarray)) or is_mapping(value):",
        "(str, bytes, np.ndarray)):",
        TABLE,
    ),
    Break(
        "bptt: an array is taken for chunks",
        f"{P}/bptt.py",
        'if hasattr(chunks, "ndim") and hasattr(chunks, "shape"):',
        'if hasattr(chunks, "ndimension"):',
        TABLE,
    ),
    Break(
        "schedule: a ragged list is NumPy's to refuse",
        f"{P}/schedule.py",
        "except (TypeError, ValueError, OverflowError) as error:",
        "except BufferError as error:",
        TABLE,
    ),
    Break(
        "a step's errors are those of x",
        f"{P}/_arguments.py",
        'if text.startswith("x:") else error',
        'if text.startswith("xx:") else error',
        TABLE,
    ),
    Break(
        "torch: a flag of a layer is whatever is true",
        f"{P}/torch/recurrent.py",
        'self.bidirectional = as_flag("bidirectional", bidirectional)',
        "self.bidirectional = bidirectional",
        "tests/torch/test_torch_bad_arguments.py",
    ),
    Break(
        "charlm: an n-gram may be of any order",
        f"{P}/charlm/ngram.py",
        'order = as_integer("order", order, 1)',
        'order = as_integer("order", order, -1)',
        "tests/charlm/test_charlm_bad_arguments.py tests/charlm/test_charlm_ngram.py",
    ),
]
