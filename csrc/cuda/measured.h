// What was quickest on a card, for plan.cpp. Written by `python -m benchmarks gpu-tables --write`, on that card; no
// hand edits it. Empty: nothing was measured yet.
#pragma once

#include "plan.h"

namespace rnnkernels::cuda {

// Capability, dtype, B, H, and the kernel (plan.h) of an LSTM's forward. The last row ends the table.
inline constexpr MeasuredKernel kMeasured[] = {
    {},
};
inline constexpr Index kMeasuredCount = sizeof kMeasured / sizeof kMeasured[0] - 1;

}  // namespace rnnkernels::cuda
