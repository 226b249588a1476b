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

// A Python object that holds an empty T, for the caller to fill. pybind11 frees what a new object holds twice, or
// never, where memory for its own books runs out: a T must be made before, but there must be nothing in it yet.
template <class T>
T& make_owned(py::object& object) {
    object = py::cast(T{});
    return object.cast<T&>();
}

}  // namespace rnnkernels::binding

#if defined(RNNKERNELS_DEVICE_ARRAYS)
#include "device_array.h"
#else
#include "host_array.h"
#endif
