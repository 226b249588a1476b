// Layers whose weights are packed once (PreparedLayer), and one step at a time on them (Stepper), for Python.
#pragma once

#include "arguments.h"

namespace rnnkernels::binding {

void bind_prepared(py::module_& m);

}  // namespace rnnkernels::binding
