"""Import a built `_cuda` and ask it what it finds: `python tests/native/import_cuda.py build/cuda/_cuda*.so`.

Where there is no GPU or no driver it must import, say why it cannot serve, and go on.
"""

from __future__ import annotations

import sys

from cuda_build import load


def main(path: str) -> None:
    """Load the module in the place of rnnkernels._cuda."""
    module = load(path)
    sys.modules["rnnkernels._cuda"] = module

    import rnnkernels as rk
    from rnnkernels import cuda

    print("cuda:", rk.backends()["cuda"])
    print("versions:", module.versions())
    assert module.kernels() == ["reference", "products", "resident", "grid"]
    assert [cell["name"] for cell in module.cells()] == list(rk.cells())
    if cuda.available():
        return
    why = cuda.reason()
    assert why, why
    for _ in range(2):  # an error leaves nothing behind
        try:
            module.Memory(0, 8)
        except cuda.CudaUnavailableError as error:
            said = str(error)
        else:
            raise AssertionError("memory of a GPU that is not there")
        assert "cuda/device.cpp" in said, said
    assert rk.forward("gru", [[[1.0, 2.0]]], rk.init_params("gru", 2, 3, rng=0, dtype="float64")).output.shape == (
        1,
        1,
        3,
    )
    print("no GPU here, and said so")


if __name__ == "__main__":
    main(sys.argv[1])
