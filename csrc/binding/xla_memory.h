// Where the arrays of a call from XLA are, for xla_ffi.cpp: the host's memory, or a GPU's, in the order of XLA's
// stream.
//
// Both sides have the same words. XlaMemory: where() and give_workspace() of a call; fresh(), memory for kernels that
// lives as long as the call does; read(), an array's values on the host; put(), the host's values where kernels read
// them; draft() and publish(), a result that the host makes; fill(). And find_xla_set(), which kernels serve.
#pragma once

#include "arguments.h"
#include "xla_ffi_abi.h"

#if defined(RNNKERNELS_DEVICE_ARRAYS)
#include "device_xla_memory.h"
#else
#include "host_xla_memory.h"
#endif
