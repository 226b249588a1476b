// NVIDIA's compiler at run time, which is found when it is first needed and never at build time: an environment
// variable (RNNKERNELS_NVRTC: a file), a library that is already loaded, the folder of the package nvidia-cuda-nvrtc,
// the system's. It needs no GPU and no driver.
#pragma once

#include <string>

namespace rnnkernels::cuda {

// The machine code of a source for a GPU of this capability (major * 10 + minor), with the flags that nvcc has for the
// other kernels; or, for a GPU that NVRTC does not know, PTX of the latest that it knows before. Throws Unavailable
// where there is no NVRTC, and Error with its messages where it refuses the source.
std::string compile_source(const std::string& source, int capability);

}  // namespace rnnkernels::cuda
