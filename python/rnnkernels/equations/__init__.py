"""Cells from equations: five lines of Python, run by the engines of the built-in cells.

`cell` is the door. A cell's function is called once, with `values` and the `names` x, u and w, and computes with
`functions` and `composites`; what it does is written into a `recording`, and `tracing` makes `graph.Equations` of that.
What it cannot do is in `refusing`, with the line of `places`.

`operations` says what each operation computes, `simplify` folds and contracts, `adjoint` differentiates, `checking`
holds that to the complex step, `keeping` says what a forward keeps, `lowering` makes the kernels' `program`, and
`registering` hands it to them. `text` is a cell's form in pickles and checkpoints, `showing` the one people read.
`blocks` multiplies by heads where a library's calls stand for the kernels (`stepping`).
For second derivatives `tangent` makes a cell of a cell and its tangents, `linear` one of the tangents alone, whose
coefficients `cutting` finds, `zoned` one whose states keep a part of themselves; `derived` says which serves a cell.
`builtin` has the built-in cells.
"""
