// How Linux and macOS are asked for what an ARM processor has.
#include "arm_features.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace rnnkernels::cpu {

#if defined(__aarch64__) && defined(__linux__)

// Bits of <asm/hwcap.h>; old headers lack the second.
bool arm_has_dot_product() { return (getauxval(AT_HWCAP) & 1UL << 20) != 0; }
bool arm_has_bfloat16() { return (getauxval(AT_HWCAP2) & 1UL << 14) != 0; }

#elif defined(__aarch64__) && defined(__APPLE__)

namespace {

bool has(const char* name) {
    int value = 0;
    std::size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
}

}  // namespace

bool arm_has_dot_product() { return has("hw.optional.arm.FEAT_DotProd"); }
bool arm_has_bfloat16() { return has("hw.optional.arm.FEAT_BF16"); }

#else

bool arm_has_dot_product() { return false; }
bool arm_has_bfloat16() { return false; }

#endif

}  // namespace rnnkernels::cpu
