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
    bool serves = true;  // without being chosen
};

// Of each set and kind slowest first; number 0 is none. Made when they are first asked for: a process that never
// multiplies in low precision never asks the system for AMX.
constexpr int kMostEntries = 13;
struct Entries {
    Entry at[kMostEntries] = {
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
        // Processors with AMX take vdpbf16ps half as often as float's multiply-add: where the system lets nobody use
        // AMX float32 is faster.
        {"avx512", &low::avx512_bf16, has_avx512_bf16(), !has_amx()},
#endif
#if defined(RNNKERNELS_LOW_AVX512_AMX)
        {"avx512", &low::amx_int8, may_use_amx()},
        {"avx512", &low::amx_bf16, may_use_amx()},
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
};
const Entry* entries() {
    static const Entries all;
    return all.at;
}

// Numbers of chosen ones by entry: the choice of a set and kind stands at the first of its entries.
std::atomic<int> chosen[kMostEntries];
constexpr int kNoKernels = -1;

bool matches(int entry, const char* set, WeightStorage kind) {
    return entries()[entry].usable && entries()[entry].kernels->kind == kind &&
           std::strcmp(entries()[entry].set, set) == 0;
}

int first_of(const char* set, WeightStorage kind) {
    for (int entry = 1; entry < kMostEntries; ++entry)
        if (matches(entry, set, kind)) return entry;
    return 0;
}

}  // namespace

int low_kernels_of(const char* set, WeightStorage kind) {
    const int first = first_of(set, kind);
    if (first == 0) return 0;
    if (const int one = chosen[first].load(std::memory_order_relaxed)) return one == kNoKernels ? 0 : one;
    int fastest = 0;
    for (int entry = first; entry < kMostEntries; ++entry)
        if (matches(entry, set, kind) && entries()[entry].serves) fastest = entry;
    return fastest;
}

const LowKernels& low_kernels(int number) { return *entries()[number].kernels; }

const char* usable_low_kernels(const char* set, WeightStorage kind, int number) {
    for (int entry = 1; entry < kMostEntries; ++entry)
        if (matches(entry, set, kind) && number-- == 0) return entries()[entry].kernels->name;
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
    for (int entry = first; entry < kMostEntries; ++entry)
        if (matches(entry, set, kind) && std::strcmp(entries()[entry].kernels->name, name) == 0) {
            chosen[first].store(entry);
            return true;
        }
    return false;
}

}  // namespace rnnkernels::cpu
