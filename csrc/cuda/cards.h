// What the rules know of a device. Not here: what CUDA says of one (device_table.h).
#pragma once

#include "plan.h"

namespace rnnkernels::cuda {

// Kept, since to ask CUDA takes milliseconds. Of a device that is not there nothing is known.
Card card_of(int device);

}  // namespace rnnkernels::cuda
