// Layers for inference on a GPU, their weights checked once: `Prepared`, and single steps through a recorded graph,
// `Stepper`. Those of the CPU are prepared.h.
#pragma once

#include "array.h"

namespace rnnkernels::binding {

void bind_device_prepared(py::module_& m);

}  // namespace rnnkernels::binding
