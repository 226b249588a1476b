// Cells that are programs (recurrence/program.h), for Python.
#pragma once

#include "array.h"

namespace rnnkernels::binding {

void bind_programs(py::module_& m);

}  // namespace rnnkernels::binding
