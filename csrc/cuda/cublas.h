// Products of matrices by cuBLAS, which is found when it is first needed and never at build time: an environment
// variable (RNNKERNELS_CUBLAS: a file), a library that is already loaded, the folder of the package nvidia-cublas, the
// system's.
#pragma once

#include "products.h"

namespace rnnkernels::cuda {

// A handle of cuBLAS on the current device, held for one call: no two calls use one at a time.
class Cublas {
public:
    // `workspace`: memory for kCublasWorkspace bytes. tf32: float32 operands may be rounded to TF32.
    Cublas(void* stream, void* workspace, bool tf32);
    ~Cublas();
    Cublas(const Cublas&) = delete;
    Cublas& operator=(const Cublas&) = delete;

    const Products& products() const { return products_; }

private:
    void* handle_;
    int device_;
    Products products_;
};

// What NVIDIA recommends from Hopper on. With memory of our own a product gives the same bits in any stream.
inline constexpr Index kCublasWorkspace = 32 * 1024 * 1024;

}  // namespace rnnkernels::cuda
