// x86-64 processors are asked themselves: behind __builtin_cpu_supports stands a runtime library that clang-cl's
// programs are not linked with. Of ARM's, Linux and macOS tell.
#include "features.h"

#include <cstddef>

#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace rnnkernels::cpu {

#if defined(__x86_64__) || defined(_M_X64)

namespace {

struct Registers {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

// Zeros where the processor has no such leaf.
Registers ask(unsigned leaf, unsigned part) {
    Registers told;
    if (__get_cpuid_count(leaf, part, &told.eax, &told.ebx, &told.ecx, &told.edx) == 0) return {};
    return told;
}

bool has_all(unsigned bits, unsigned wanted) { return (bits & wanted) == wanted; }

// Whether the system saves these parts of a thread's registers: bits of XCR0.
bool saves(unsigned wanted) {
    constexpr unsigned osxsave = 1U << 27;
    if (!has_all(ask(1, 0).ecx, osxsave)) return false;
    unsigned low = 0, high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return has_all(low, wanted);
}

}  // namespace

bool has_avx2() {
    constexpr unsigned fma = 1U << 12, avx = 1U << 28, avx2 = 1U << 5, xmm_and_ymm = 0x6;
    return has_all(ask(1, 0).ecx, fma | avx) && has_all(ask(7, 0).ebx, avx2) && saves(xmm_and_ymm);
}

bool has_avx512() {
    constexpr unsigned f = 1U << 16, dq = 1U << 17, bw = 1U << 30, vl = 1U << 31, masks_and_zmm = 0xe6;
    return has_avx2() && has_all(ask(7, 0).ebx, f | dq | bw | vl) && saves(masks_and_zmm);
}

bool has_avx_vnni() { return has_avx2() && has_all(ask(7, 1).eax, 1U << 4); }
bool has_avx512_vnni() { return has_avx512() && has_all(ask(7, 0).ecx, 1U << 11); }
bool has_avx512_bf16() { return has_avx512() && has_all(ask(7, 1).eax, 1U << 5); }
bool has_amx() {
    constexpr unsigned bf16 = 1U << 22, tile = 1U << 24, int8 = 1U << 25, tiles = 0x60000;
    return has_avx512_vnni() && has_avx512_bf16() && has_all(ask(7, 0).edx, bf16 | tile | int8) && saves(tiles);
}

#if defined(__linux__)

// <asm/prctl.h> of new kernels. It is refused where a thread's stack for signals is too small for tiles.
bool may_use_amx() {
    constexpr long request_permission = 0x1023, tile_data = 18;
    return has_amx() && syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

#else

bool may_use_amx() { return false; }  // never tried elsewhere

#endif

#else

bool has_avx2() { return false; }
bool has_avx512() { return false; }
bool has_avx_vnni() { return false; }
bool has_avx512_vnni() { return false; }
bool has_avx512_bf16() { return false; }
bool has_amx() { return false; }
bool may_use_amx() { return false; }

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
