// Which instructions the processor has, and the system saves the registers of. Where a processor lacks what an answer
// stands on (AVX2 for AVX-512, say) the answer is no. Not here: what a build has (CMake), and what serves (select.cpp).
#pragma once

namespace rnnkernels::cpu {

bool has_avx2();         // with FMA
bool has_avx512();       // F, VL, DQ and BW, and AVX2
bool has_avx_vnni();     // and AVX2
bool has_avx512_vnni();  // and AVX-512
bool has_avx512_bf16();  // and AVX-512
bool has_amx();          // tiles of int8 and of bfloat16, and what the three above ask for

// Whether this process may use AMX. The system is asked for it, once: on Linux a process has to.
bool may_use_amx();

bool arm_has_dot_product();  // FEAT_DotProd: SDOT
bool arm_has_bfloat16();     // FEAT_BF16: BFDOT

}  // namespace rnnkernels::cpu
