"""Breaks between a cell's equations and its programs: operations, derivatives, what is kept, instructions."""

from .record import Break

E = "python/rnnkernels/equations"
ADJOINT = "tests/equations/test_adjoint.py"
LOWERING = "tests/equations/test_lowering.py"
PROGRAMS = "tests/equations/test_programs.py"
KEEPING = "tests/equations/test_keeping.py"
SIMPLIFY = "tests/equations/test_simplify.py"
TANGENT = "tests/equations/test_tangent.py"
CHECKING = "tests/equations/test_checking.py"

BREAKS = [
    # ---- operations
    Break(
        "operations: the derivative of a division has no sign",
        f"{E}/operations.py",
        'return quotient, build("neg", build("mul", quotient, y))',
        'return quotient, build("mul", quotient, y)',
        ADJOINT,
    ),
    Break(
        "operations: where two are equal the first has the gradient",
        f"{E}/operations.py",
        'return build("where_gt", large, small, d, zero), build("where_gt", large, small, zero, d)',
        'return build("where_ge", large, small, d, zero), build("where_ge", large, small, zero, d)',
        ADJOINT,
    ),
    Break(
        "operations: a clip asks its bounds in the wrong order",
        f"{E}/operations.py",
        "build.value(low) < build.value(high)",
        "build.value(low) > build.value(high)",
        KEEPING,
    ),
    Break(
        "operations: a maximum loses a NaN",
        f"{E}/operations.py",
        "return _choose((_real(a) > _real(b)) | np.isnan(a), a, b)",
        "return _choose(_real(a) > _real(b), a, b)",
        "tests/equations/test_operations.py",
    ),
    Break(
        "operations: erf has no slope off the real axis",
        f"{E}/operations.py",
        "return value + 1j * np.imag(x) * _ERF_SLOPE",
        "return value + 1j * 0 * np.imag(x) * _ERF_SLOPE",
        ADJOINT,
    ),
    # ---- graphs
    Break(
        "simplify: x + 0 is x, a bit of -0",
        f"{E}/simplify.py",
        'if operation == "add":\n',
        'if operation == "add":\n            if _is(b, 0.0):\n                return a\n',
        SIMPLIFY,
    ),
    Break(
        "simplify: a product with another use is contracted",
        f"{E}/simplify.py",
        "once = of_sums or (uses[node] == 1 and uses[inner] == 1)",
        "once = True",
        SIMPLIFY,
    ),
    Break(
        "simplify: the right of two products is contracted",
        f"{E}/simplify.py",
        "for place in (1, 0) if of_sums else (0, 1):",
        "for place in (1, 0):",
        SIMPLIFY,
    ),
    Break(
        "simplify: c - a*b is a*b + c",
        f"{E}/simplify.py",
        "if (factor is not inner) != (subtracts and place == 1):",
        "if factor is not inner:",
        SIMPLIFY,
    ),
    Break(
        "adjoint: the gradient of a value that is read twice is its last reader's",
        f"{E}/adjoint.py",
        "parts.setdefault(argument, []).append(gradient)",
        "parts[argument] = [gradient]",
        ADJOINT,
    ),
    Break(
        "adjoint: what is known late stands in the middle of a sum",
        f"{E}/adjoint.py",
        "for part in sorted(parts.get(node, ()), key=is_late):",
        "for part in parts.get(node, ()):",
        ADJOINT,
    ),
    Break(
        "adjoint: what is fed back replaces a state's gradient",
        f"{E}/adjoint.py",
        'state: build("add", d_new(graph, state), fed_gradients[leaf])',
        "state: fed_gradients[leaf]",
        ADJOINT,
    ),
    # ---- duals
    Break(
        "tangent: the last argument's part is the whole tangent",
        f"{E}/tangent.py",
        'total = part if total is None else self.build("add", total, part)',
        "total = part",
        TANGENT,
    ),
    Break(
        "tangent: h' is multiplied by nothing",
        f"{E}/tangent.py",
        'return make("product", attribute=attribute), self.build("add", *rows)',
        'return make("product", attribute=attribute), rows[0]',
        TANGENT,
    ),
    Break(
        "tangent: a cell of two products has a dual",
        f"{E}/tangent.py",
        'return all(product.kind == "hidden" for product in equations.products)',
        'return all(product.kind != "feedback" for product in equations.products)',
        TANGENT,
    ),
    # ---- what is kept
    Break(
        "keeping: tanh(c') is kept",
        f"{E}/keeping.py",
        "return 1 if all(map(at_hand, node.arguments)) else most + 1",
        "return most + 1",
        KEEPING,
    ),
    Break(
        "keeping: three operations are made again",
        f"{E}/keeping.py",
        "MOST_MADE_AGAIN = 2",
        "MOST_MADE_AGAIN = 3",
        KEEPING,
    ),
    Break(
        "keeping: a backward's second half finds the new states",
        f"{E}/keeping.py",
        "_keep(_read(second, forward) | {operand}, at_hand_late, kept)",
        "_keep(_read(second, forward) | {operand}, at_hand, kept)",
        LOWERING,
    ),
    Break(
        "keeping: a forward's second half finds the first product",
        f"{E}/keeping.py",
        'makes[node] = node.operation != "product"',
        "makes[node] = True",
        LOWERING,
    ),
    # ---- instructions
    Break(
        "selecting: a value that is read twice is made inside of an instruction",
        f"{E}/selecting.py",
        "return uses.get(node) == 1 and node not in is_result",
        "return uses.get(node, 0) >= 1",
        PROGRAMS,
    ),
    Break(
        "selecting: a lerp's ends change places",
        f"{E}/selecting.py",
        'return "lerp", (part, way.arguments[0], c)',
        'return "lerp", (part, c, way.arguments[0])',
        LOWERING,
    ),
    Break(
        "selecting: a product that is added changes its factors with another",
        f"{E}/selecting.py",
        '("fma_mul", (a, b, *c.arguments))',
        '("fma_mul", (a, c.arguments[0], b, c.arguments[1]))',
        LOWERING,
    ),
    Break(
        "selecting: what is subtracted before a slope changes places",
        f"{E}/selecting.py",
        "(*way.arguments, factor, value)",
        "(*way.arguments[::-1], factor, value)",
        LOWERING,
    ),
    Break(
        "selecting: every product is made where it is added, whatever stands inside of it",
        f"{E}/selecting.py",
        "and once(node) and _match_product(node, once, free) is None",
        "and once(node)",
        PROGRAMS,
    ),
    Break(
        "selecting: 1 - t^2 is s (1 - s)",
        f"{E}/selecting.py",
        'return "tanh", t',
        'return "sigmoid", t',
        LOWERING,
    ),
    Break(
        "scheduling: a state is overwritten before it is read",
        f"{E}/scheduling.py",
        "free = [item for item in ready if not overwrites(item)]",
        "free = ready",
        PROGRAMS,
    ),
    Break(
        "scheduling: a register is free before its last reader",
        f"{E}/scheduling.py",
        "if last[source] is item and source.out is None]",
        "if source.out is None]",
        LOWERING,
    ),
    Break(
        "lowering: a product reads one slot for two gates",
        f"{E}/lowering.py",
        "if content is node and slot not in taken)",
        "if content is node)",
        PROGRAMS,
    ),
    Break(
        "lowering: what crosses to a backward's second half is overwritten",
        f"{E}/lowering.py",
        'carried[node] = free.pop(0) if free else ("slot", self.slots.add(None))',
        'carried[node] = free[0] if free else ("slot", self.slots.add(None))',
        LOWERING,
    ),
    Break(
        "lowering: x's gates stand the other way round",
        f"{E}/lowering.py",
        "inputs = [gate for gate in equations.gates if gate in equations.inputs]",
        "inputs = [gate for gate in equations.gates[::-1] if gate in equations.inputs]",
        "tests/equations/test_random_layers.py",
    ),
    # ---- the check
    Break(
        "checking: a NaN passes",
        f"{E}/checking.py",
        "if not right[finite].all():",
        "if not right[finite & np.isfinite(got)].all():",
        CHECKING,
    ),
    Break(
        "checking: what is fed back is not looked at",
        f"{E}/checking.py",
        "        for state, node in backward.fed_back.items():\n            place",
        "        for state, node in ():\n            place",
        CHECKING,
    ),
]
