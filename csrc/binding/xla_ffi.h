// The kernels as functions that XLA's programs call, for JAX: capsules for Python to register.
#pragma once

#include "arguments.h"

namespace rnnkernels::binding {

void bind_xla_ffi(py::module_& m);

}  // namespace rnnkernels::binding
