// int8 products for the neon set, where the processor has no instruction for them: products of 16 bits, whose sums in
// pairs are exact, since 2 * 127 * 127 fits.
#include <arm_neon.h>

#include "neon.h"
#include "sets.h"

namespace rnnkernels::cpu {
namespace {

struct Neon : NeonFloats {
    static void add(Int& sum, Weights w, Numbers a) {
        const int16x8_t first = vmull_s8(vget_low_s8(w), vget_low_s8(a));
        sum = vpadalq_s16(sum, vpaddq_s16(first, vmull_high_s8(w, a)));
    }
};

}  // namespace

namespace low {

const LowKernels neon{"neon", WeightStorage::int8, 4, 0, 16, 1, convert_int8<0>, product_int8<Neon>};

}  // namespace low
}  // namespace rnnkernels::cpu
