// The number-th of the built-in cells, by which the source of a resident kernel names it.
#pragma once

#include "../../cells/all.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <int number, class List>
struct NumberedCell;
template <template <class> class First, template <class> class... Others>
struct NumberedCell<0, CellList<First, Others...>> {
    using type = First<Vec<float>>;
};
template <int number, template <class> class First, template <class> class... Others>
struct NumberedCell<number, CellList<First, Others...>> : NumberedCell<number - 1, CellList<Others...>> {};

}  // namespace rnnkernels::RNNKERNELS_TARGET
