// int8 products for the avx2 set, where the processor has no instruction for them.
#include "generic.h"
#include "sets.h"

namespace rnnkernels::cpu::low {

const LowKernels avx2{"avx2", WeightStorage::int8, 8, 128, convert_generic<128>, product_generic<8, 128>};

}  // namespace rnnkernels::cpu::low
