// What the source of a resident backward stands on (source.h): cells, programs and the kernel itself. Made one text
// when the backend is built (cmake/flatten_headers.py).
#pragma once

#include "../standard.h"

#include "../../cells/all.h"
#include "backward_cell_maths.h"
#include "backward_kernel.h"
#include "backward_program_maths.h"
#include "numbered_cell.h"
#include "two_products_backward_cell_maths.h"
#include "two_products_backward_program_maths.h"
