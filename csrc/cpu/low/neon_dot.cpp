// int8 products for the neon set on processors with the dot product (SDOT, of ARMv8.2; all of ARMv8.4 have it).
#include <arm_neon.h>

#include "neon.h"
#include "sets.h"

namespace rnnkernels::cpu {
namespace {

struct NeonDot : NeonFloats {
    static void add(Int& sum, Weights w, Numbers a) { sum = vdotq_s32(sum, w, a); }
};

}  // namespace

namespace low {

const LowKernels neon_dot{"neon_dot", WeightStorage::int8, 4, 0, 16, 4, convert_int8<0>, product_int8<NeonDot>};

}  // namespace low
}  // namespace rnnkernels::cpu
