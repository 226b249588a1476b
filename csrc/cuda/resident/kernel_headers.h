// What the source of a resident kernel stands on (source.h): cells, programs and the kernel itself. Made one text when
// the backend is built (cmake/flatten_headers.py).
#pragma once

#include "../standard.h"

#include "../../cells/all.h"
#include "kernel.h"
#include "numbered_cell.h"
#include "two_products_cell_maths.h"
#include "two_products_program_maths.h"
