// What the parts of check_sets share, and those of stress_threads.
#pragma once

namespace native {

// Prints the sentence (as printf) and ends the program with status 1. Each program has its own.
[[noreturn]] __attribute__((format(printf, 1, 2))) void fail(const char* format, ...);

// What is asked of the processor (csrc/cpu/features.h).
void check_features();

// The functions of csrc/math/functions.h of a set against long double, in ULP, as promised there. Prints the errors.
void check_functions(int set);

// The set's kernels for products in low precision (csrc/cpu/low/). Prints their names.
void check_low_products(int set);

}  // namespace native
