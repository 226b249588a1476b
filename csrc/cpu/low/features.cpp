// x86-64 processors are asked themselves; of ARM's, Linux and macOS tell.
#include "features.h"

#include <cstddef>

#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace rnnkernels::cpu {

#if defined(__x86_64__) || defined(_M_X64)

// Whether the system saves the registers is asked with AVX2.
bool has_avx_vnni() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & 1U << 4) != 0;
}

#else

bool has_avx_vnni() { return false; }

#endif

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
