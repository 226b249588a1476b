// What the source of a resident kernel stands on (source.h): cells, programs and the kernel itself. Made one text when
// the backend is built (cmake/flatten_headers.py).
#pragma once

#include "../standard.h"

#include "../../cells/all.h"
#include "kernel.h"
#include "two_products_cell_maths.h"
#include "two_products_program_maths.h"

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
