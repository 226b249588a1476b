// The files of kernels, each with kernels of its name. Data alone, so that asking for them runs no instruction that the
// processor may lack. Declared for all processors, defined where a build has them (cmake/InstructionSets.cmake).
#pragma once

#include "kernels.h"

namespace rnnkernels::cpu::low {

extern const LowKernels scalar;
extern const LowKernels avx2, avx_vnni, avx512_vnni_256;
extern const LowKernels avx512, avx512_vnni, avx512_bf16, amx_int8, amx_bf16;
extern const LowKernels neon, neon_dot, neon_bf16;

}  // namespace rnnkernels::cpu::low
