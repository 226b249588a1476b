// Errors of CUDA as exceptions (device_table.h), with the call, the place and the library's own sentence. An error that
// CUDA would report again with the next call is taken back, so that the process can go on.
#pragma once

#include <cuda_runtime.h>

#include "../device_table.h"

namespace rnnkernels::cuda {

[[noreturn]] void fail(cudaError_t error, const char* call, const char* file, int line);

#define RNNKERNELS_CHECK(call)                                                                  \
    do {                                                                                        \
        const cudaError_t rnnkernels_error = (call);                                            \
        if (rnnkernels_error != cudaSuccess)                                                    \
            ::rnnkernels::cuda::fail(rnnkernels_error, #call, RNNKERNELS_SHORT_FILE, __LINE__); \
    } while (false)

// The file's name below csrc/, whatever folder it was compiled in.
#define RNNKERNELS_SHORT_FILE ::rnnkernels::cuda::short_name(__FILE__)

constexpr const char* short_name(const char* file) {
    const char* name = file;
    for (const char* at = file; *at != '\0'; ++at)
        if (at[0] == 'c' && at[1] == 's' && at[2] == 'r' && at[3] == 'c' && at[4] == '/') name = at;
    return name;
}

}  // namespace rnnkernels::cuda
