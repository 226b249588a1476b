// The passes of the built-in cells for one instruction set, in the order of cells/all.h. passes.cpp makes them.
#pragma once

#include "../math/target.h"
#include "strip.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Of cell number `cell`.
const SetPasses& passes_of(int cell);

}  // namespace rnnkernels::RNNKERNELS_TARGET
