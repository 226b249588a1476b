// The functions that every backend's module has: cells, forward, forward_layers, backward, sizes of reserves.
#pragma once

#include "array.h"

namespace rnnkernels::binding {

void bind_calls(py::module_& m);

Dtype read_dtype(const std::string& name);

// The names of a backend's sets: instruction sets, or kernels of a GPU.
py::list set_names();

}  // namespace rnnkernels::binding
