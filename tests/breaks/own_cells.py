"""Breaks of how a cell's function becomes its equations, and of the cell that is registered."""

from .record import Break

E = "python/rnnkernels/equations"

BREAKS = [
    Break(
        "trace: every condition is true",
        f"{E}/refusing.py",
        'raise refused(f"{self._said()}: {_FLOW}")',
        "return True",
        "tests/equations/test_refusals.py -k line",
    ),
    Break(
        "trace: a value of another trace is taken",
        f"{E}/values.py",
        "if value._recording is not recording or not recording.is_open:",
        "if False:",
        "tests/equations/test_refusals.py -k another",
    ),
    Break(
        "trace: a third product is taken",
        f"{E}/recording.py",
        'if any(leaf.operation == "product" and self._is_gated(leaf) for leaf in below):',
        "if False:",
        "tests/equations/test_refusals.py -k third",
    ),
    Break(
        "trace: a gate is a row of two products",
        f"{E}/recording.py",
        "if known != product:",
        "if False:",
        "tests/equations/test_refusals.py -k two_products",
    ),
    Break(
        "trace: states may be of no use",
        f"{E}/tracing.py",
        'if number and ("state", number) not in used:',
        "if False:",
        "tests/equations/test_refusals.py -k not_used",
    ),
    Break(
        "trace: what a product multiplies is not used",
        f"{E}/tracing.py",
        "waiting = [node for k in read for node in recording.products[k].operands if node.number not in found]",
        "waiting = []",
        "tests/equations/test_tracing.py -k two_products",
    ),
    Break(
        "trace: a product's gates are in the order of their own first appearance",
        f"{E}/tracing.py",
        'tuple(gate for gate in recording.gates if recording.rows.get(gate, (-1, ""))[0] == number)',
        "tuple(gate for gate, (of, _) in recording.rows.items() if of == number)",
        "tests/equations/test_tracing.py -k first_appearance",
    ),
    Break(
        "trace: settings are the defaults",
        f"{E}/tracing.py",
        "numbers = parameters.settings | dict(settings or {})",
        "numbers = parameters.settings",
        "tests/equations/test_tracing.py -k two_products",
    ),
    Break(
        "trace: < is <=",
        f"{E}/values.py",
        'compared("where_gt", other, self, "<")',
        'compared("where_ge", other, self, "<")',
        "tests/equations/test_tracing.py -k functions_compute",
    ),
    Break(
        "trace: & is |",
        f"{E}/values.py",
        "return first.choose(second[0].choose(yes, no), no)",
        "return first.choose(yes, second[0].choose(yes, no))",
        "tests/equations/test_tracing.py -k functions_compute",
    ),
    Break(
        "elu: the branch that is not taken overflows",
        f"{E}/composites.py",
        "alpha * expm1(minimum(0.0, value))",
        "alpha * expm1(value)",
        "tests/equations/test_tracing.py -k far_out",
    ),
    Break(
        "print: variables have no names",
        f"{E}/simplify.py",
        "names=tuple((node.number, name) for node, name in named if node is not None),",
        "names=(),",
        "tests/equations/test_showing.py",
    ),
    Break(
        "print: the gated operand's gradient comes from nowhere",
        f"{E}/showing.py",
        "        yield from self._through()\n",
        "",
        "tests/equations/test_showing.py -k two_products",
    ),
    Break(
        "cell: other equations are the cell of that name",
        f"{E}/cell.py",
        "if found is None or meaning(found.equations) == says:",
        "if True:",
        "tests/equations/own_cells.py -k name_of_their_own",
    ),
    Break(
        "cell: the list of cells forgets",
        f"{E}/cell.py",
        "found = _cells[name] = Cell._made(equations, function, initial)",
        "found = Cell._made(equations, function, initial)",
        "tests/equations/own_cells.py -k same_object",
    ),
    Break(
        "cell: a pickle is the name",
        f"{E}/cell.py",
        "return load, (dumps(self.equations),)",
        "return str, (str.__str__(self),)",
        "tests/equations/own_cells.py -k pickle",
    ),
    Break(
        "text: an operation has as many arguments as a file says",
        f"{E}/text.py",
        "if len(arguments) != known.arity or attribute is not None:",
        "if attribute is not None:",
        "tests/equations/test_text.py -k something_else",
    ),
    Break(
        "text: equal equations have equal prose",
        f"{E}/text.py",
        'sorted(text.keys() - {"name", "doc", "variables"})',
        'sorted(text.keys() - {"name"})',
        "tests/equations/test_text.py -k meaning",
    ),
]
