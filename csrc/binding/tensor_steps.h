// One step at a time on the tensors of another library, for Python: TensorSteps.
#pragma once

#include "arguments.h"

namespace rnnkernels::binding {

void bind_tensor_steps(py::module_& m);

}  // namespace rnnkernels::binding
