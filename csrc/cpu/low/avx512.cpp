// int8 products for the avx512 set, where the processor has no instruction for them.
#include "generic.h"
#include "sets.h"

namespace rnnkernels::cpu::low {

const LowKernels avx512{"avx512", WeightStorage::int8, 16, 128, convert_generic<128>, product_generic<16, 128>};

}  // namespace rnnkernels::cpu::low
