// What each cell launches on the CUDA backend, compiled for the host; see emulated_device.cpp.
#include "emulated_grid.h"
#include "emulated_resident.h"

#include "cuda/cell_launches.cu"
