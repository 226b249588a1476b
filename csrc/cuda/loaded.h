// Machine code that was compiled at run time, loaded once.
#pragma once

#include <cuda_runtime.h>

#include <string>

namespace rnnkernels::cuda {

int current_device();
int capability_of(int device);

// What a source, behind a prelude of this backend's, became for GPUs of a capability. Kept as long as the process
// lives.
cudaLibrary_t loaded(const char* prelude, const std::string& source, int capability);

}  // namespace rnnkernels::cuda
