// int8 products for the scalar set.
#include "generic.h"
#include "sets.h"

namespace rnnkernels::cpu::low {

const LowKernels scalar{"scalar", WeightStorage::int8, 1, 0, 16, 1, convert_generic<0>, product_generic<1, 0>};

}  // namespace rnnkernels::cpu::low
