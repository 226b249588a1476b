// What a 64-bit ARM processor has beside NEON, as its system tells; nothing on any other.
#pragma once

namespace rnnkernels::cpu {

bool arm_has_dot_product();  // FEAT_DotProd: SDOT
bool arm_has_bfloat16();     // FEAT_BF16: BFDOT

}  // namespace rnnkernels::cpu
