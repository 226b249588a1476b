// What a processor has for products in low precision that a compiler may not be able to ask for by name.
#pragma once

namespace rnnkernels::cpu {

bool has_avx_vnni();         // clang 14 does not know the name
bool arm_has_dot_product();  // FEAT_DotProd: SDOT
bool arm_has_bfloat16();     // FEAT_BF16: BFDOT

}  // namespace rnnkernels::cpu
