// Which engine serves a cell: the one of its form (recurrence/order.h).
#pragma once

#include <type_traits>

#include "normalised_backward.h"
#include "normalised_forward.h"
#include "projected.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Cell, class T>
using ForwardEngineOf =
    std::conditional_t<normalised<Cell>, NormalisedForwardEngine<Cell, T>,
                       std::conditional_t<projected<Cell>, ProjectedForward<Cell, T>, ForwardEngine<Cell, T>>>;

template <class Cell, class T>
using BackwardEngineOf =
    std::conditional_t<normalised<Cell>, NormalisedBackwardEngine<Cell, T>,
                       std::conditional_t<projected<Cell>, ProjectedBackward<Cell, T>, BackwardEngine<Cell, T>>>;

}  // namespace rnnkernels::RNNKERNELS_TARGET
