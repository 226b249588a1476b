// Which kernels serve an instruction set: of those that are built in and that the processor has instructions for the
// fastest, or the one that was chosen. Compiled once, for the baseline.
#include "kernels.h"

#include <atomic>
#include <cstring>

#include "../features.h"
#include "sets.h"

namespace rnnkernels::cpu {
namespace {

struct Entry {
    const char* set;
    const LowKernels* kernels;
    bool usable;
};

// Of each set and kind slowest first; number 0 is none.
const Entry entries[] = {
    {"", nullptr, false},
    {"scalar", &low::scalar, true},
#if defined(RNNKERNELS_LOW_AVX2)
    {"avx2", &low::avx2, true},
#endif
#if defined(RNNKERNELS_LOW_AVX_VNNI)
    {"avx2", &low::avx_vnni, has_avx_vnni()},
#endif
#if defined(RNNKERNELS_LOW_AVX512_VNNI_256)
    {"avx2", &low::avx512_vnni_256, has_avx512_vnni()},
#endif
#if defined(RNNKERNELS_LOW_AVX512)
    {"avx512", &low::avx512, true},
#endif
#if defined(RNNKERNELS_LOW_AVX512_VNNI)
    {"avx512", &low::avx512_vnni, has_avx512_vnni()},
#endif
#if defined(RNNKERNELS_LOW_AVX512_BF16)
    {"avx512", &low::avx512_bf16, has_avx512_bf16()},
#endif
#if defined(RNNKERNELS_LOW_NEON)
    {"neon", &low::neon, true},
#endif
#if defined(RNNKERNELS_LOW_NEON_DOT)
    {"neon", &low::neon_dot, arm_has_dot_product()},
#endif
#if defined(RNNKERNELS_LOW_NEON_BF16)
    {"neon", &low::neon_bf16, arm_has_bfloat16()},
#endif
};
constexpr int count = static_cast<int>(sizeof(entries) / sizeof(entries[0]));

// Numbers of chosen ones by entry: the choice of a set and kind stands at the first of its entries.
std::atomic<int> chosen[count];
constexpr int kNoKernels = -1;

bool matches(int entry, const char* set, WeightStorage kind) {
    return entries[entry].usable && entries[entry].kernels->kind == kind && std::strcmp(entries[entry].set, set) == 0;
}

int first_of(const char* set, WeightStorage kind) {
    for (int entry = 1; entry < count; ++entry)
        if (matches(entry, set, kind)) return entry;
    return 0;
}

}  // namespace

int low_kernels_of(const char* set, WeightStorage kind) {
    const int first = first_of(set, kind);
    if (first == 0) return 0;
    if (const int one = chosen[first].load(std::memory_order_relaxed)) return one == kNoKernels ? 0 : one;
    int fastest = first;
    for (int entry = first; entry < count; ++entry)
        if (matches(entry, set, kind)) fastest = entry;
    return fastest;
}

const LowKernels& low_kernels(int number) { return *entries[number].kernels; }

const char* usable_low_kernels(const char* set, WeightStorage kind, int number) {
    for (int entry = 1; entry < count; ++entry)
        if (matches(entry, set, kind) && number-- == 0) return entries[entry].kernels->name;
    return nullptr;
}

bool choose_low_kernels(const char* set, WeightStorage kind, const char* name) {
    const int first = first_of(set, kind);
    const bool none = name != nullptr && std::strcmp(name, "none") == 0;
    if (first == 0) return name == nullptr || (none && kind == WeightStorage::bfloat16);
    if (name == nullptr || none) {
        if (none && kind != WeightStorage::bfloat16) return false;
        chosen[first].store(none ? kNoKernels : 0);
        return true;
    }
    for (int entry = first; entry < count; ++entry)
        if (matches(entry, set, kind) && std::strcmp(entries[entry].kernels->name, name) == 0) {
            chosen[first].store(entry);
            return true;
        }
    return false;
}

}  // namespace rnnkernels::cpu
