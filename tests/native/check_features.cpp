// What csrc/cpu/features.h asks the processor itself, against what the compiler's runtime library says of it. A wrong
// no would only be slow, and no other test would see it. Of x86-64 alone.
#include "check.h"
#include "cpu/features.h"

namespace native {

void check_features() {
#if defined(__x86_64__)
    using namespace rnnkernels::cpu;
    const auto check = [](const char* name, bool found, bool expected) {
        if (found != expected) fail("%s: expected %d, the processor was read as %d", name, expected, found);
    };
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
    check("avx2", has_avx2(), avx2);
    check("avx512", has_avx512(), avx512);
    check("avx512_vnni", has_avx512_vnni(), avx512 && __builtin_cpu_supports("avx512vnni"));
    check("avx512_bf16", has_avx512_bf16(), avx512 && __builtin_cpu_supports("avx512bf16"));
#if defined(__GNUC__) && !defined(__clang__)
    check("amx", has_amx(),
          has_avx512_vnni() && has_avx512_bf16() && __builtin_cpu_supports("amx-tile") &&
              __builtin_cpu_supports("amx-int8") && __builtin_cpu_supports("amx-bf16"));
#endif
    if (may_use_amx() && !has_amx()) fail("AMX: may be used where there is none");
#endif
}

}  // namespace native
