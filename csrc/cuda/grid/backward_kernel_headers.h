// What the source of a grid backward stands on (source.h). Made one text when the backend is built
// (cmake/flatten_headers.py).
#pragma once

#include "../resident/backward_kernel_headers.h"
#include "backward_kernel.h"
