// What the source of a grid kernel stands on (source.h). Made one text when the backend is built
// (cmake/flatten_headers.py).
#pragma once

#include "../resident/kernel_headers.h"
#include "kernel.h"
