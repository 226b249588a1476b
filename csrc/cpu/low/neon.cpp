// int8 products for the neon set, where the processor has no instruction for them.
#include "generic.h"
#include "sets.h"

namespace rnnkernels::cpu::low {

const LowKernels neon{"neon", WeightStorage::int8, 4, 0, convert_generic<0>, product_generic<4, 0>};

}  // namespace rnnkernels::cpu::low
