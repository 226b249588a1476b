// The CUDA backend's engines, compiled for the host; see emulated_device.cpp.
#include "cuda/engines.cu"
