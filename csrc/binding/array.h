// The arrays of the backend that this binding is compiled for: NumPy's on the host, views of a GPU's memory there.
//
// Both sides have the same words: Array, Place (where fresh arrays come from and where a call runs), Reserve (what a
// training forward keeps), kDtypes, shape_of, is_dtype, holds_tokens, in_order, dtype_text, fresh, fresh_zeros.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <vector>

#include "../backend_table.h"

namespace rnnkernels::binding {

namespace py = pybind11;

using Dims = std::vector<Index>;

const char* name_of(Dtype dtype);

}  // namespace rnnkernels::binding

#if defined(RNNKERNELS_DEVICE_ARRAYS)
#include "device_array.h"
#else
#include "host_array.h"
#endif
