// The sentences of check.h.
#include "check.h"

#include <string>

namespace rnnkernels::cuda {

void fail(cudaError_t error, const char* call, const char* file, int line) {
    cudaGetLastError();  // or the next call would report it
    const std::string text = std::string(call) + " at " + file + ":" + std::to_string(line) + ": " +
                             cudaGetErrorName(error) + ", " + cudaGetErrorString(error);
    switch (error) {
        case cudaErrorMemoryAllocation: throw OutOfMemory(text);
        case cudaErrorNoDevice:
        case cudaErrorInsufficientDriver:
        case cudaErrorStubLibrary:
        case cudaErrorNoKernelImageForDevice: throw Unavailable(text);
        default: throw Error(text);
    }
}

}  // namespace rnnkernels::cuda
