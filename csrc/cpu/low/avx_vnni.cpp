// int8 products for the avx2 set on processors with AVX-VNNI.
#include "sets.h"
#include "vnni_256.h"

namespace rnnkernels::cpu::low {

const LowKernels avx_vnni{"avx_vnni", WeightStorage::int8, 8, 128, 16, 4, convert_int8<128>, product_int8<Vnni256>};

}  // namespace rnnkernels::cpu::low
