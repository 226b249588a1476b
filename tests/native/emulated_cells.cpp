// A part of the CUDA backend's cells, compiled for the host; see emulated_device.cpp.
#include "cuda/cell_kernels.cu"
