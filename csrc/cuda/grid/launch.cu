// Grid kernels on a GPU: compiled by NVRTC when a cell, a shape and a dtype first come together, and kept. All blocks
// of a launch wait for each other: the launch is cooperative, which the card refuses where they do not fit at once.
#include "launch.h"

#include <map>
#include <mutex>
#include <tuple>

#include "../loaded.h"
#include "../queue.h"
#include "source.h"

namespace rnnkernels::cuda {
namespace {

int blocks_of(const Grid& shape) { return shape.blocks * shape.teams; }

// Throws where the blocks are not on the card at once.
void check_room(cudaKernel_t kernel, const Grid& shape, int device) {
    int each = 0, processors = 0, cooperative = 0;
    RNNKERNELS_CHECK(cudaDeviceGetAttribute(&cooperative, cudaDevAttrCooperativeLaunch, device));
    RNNKERNELS_CHECK(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device));
    RNNKERNELS_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(
        &each, reinterpret_cast<const void*>(kernel), kGridThreads, static_cast<std::size_t>(shape.shared_bytes())));
    if (!cooperative) throw Unavailable("kernel: grid: expected a GPU with cooperative launches, got one without");
    if (each * processors < blocks_of(shape))
        throw Unavailable("kernel: grid: expected room for " + std::to_string(blocks_of(shape)) +
                          " blocks on the card at once, got room for " + std::to_string(each * processors));
}

// That of a source, on the current device.
cudaKernel_t kernel_of(const char* prelude, const std::string& source, const char* name, const Grid& shape) {
    static std::mutex guard;
    static auto* kept = new std::map<std::tuple<int, std::string>, cudaKernel_t>;
    const int device = current_device();
    const std::lock_guard<std::mutex> lock(guard);
    cudaKernel_t& kernel = (*kept)[{device, source}];
    if (kernel) return kernel;
    cudaKernel_t found{};
    RNNKERNELS_CHECK(cudaLibraryGetKernel(&found, loaded(prelude, source, capability_of(device)), name));
    RNNKERNELS_CHECK(cudaKernelSetAttributeForDevice(found, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                     shape.shared_bytes(), device));
    check_room(found, shape, device);
    return kernel = found;
}
cudaKernel_t kernel_of(int number, const OwnProgram* program, const Grid& shape, Dtype storage, const GridCall*) {
    return kernel_of(kGridPrelude, grid_source(number, program, shape, storage), kGridKernel, shape);
}
cudaKernel_t kernel_of(int number, const OwnProgram* program, const Grid& shape, Dtype storage,
                       const GridBackwardCall*) {
    return kernel_of(kGridBackwardPrelude, grid_backward_source(number, program, shape, storage), kGridBackwardKernel,
                     shape);
}

template <class Call>
void put(int number, const OwnProgram* program, const Queue& queue, const Grid& shape, const Call& call) {
    if (call.exchange.tiles == 0 || call.call.steps == 0) return;
    cudaLaunchAttribute cooperative{};
    cooperative.id = cudaLaunchAttributeCooperative;
    cooperative.val.cooperative = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(blocks_of(shape)));
    config.blockDim = dim3(kGridThreads);
    config.dynamicSmemBytes = static_cast<std::size_t>(shape.shared_bytes());
    config.stream = static_cast<cudaStream_t>(queue.stream);
    config.attrs = &cooperative, config.numAttrs = 1;
    const cudaKernel_t kernel = kernel_of(number, program, shape, call.call.a.storage, &call);
    void* arguments[] = {const_cast<Call*>(&call)};
    RNNKERNELS_CHECK(cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(kernel), arguments));
}

}  // namespace

void put_grid(int number, const Queue& queue, const Grid& shape, const GridCall& call) {
    put(number, nullptr, queue, shape, call);
}
void put_grid(const OwnProgram& program, const Queue& queue, const Grid& shape, const GridCall& call) {
    put(-1, &program, queue, shape, call);
}
void put_grid(int number, const Queue& queue, const Grid& shape, const GridBackwardCall& call) {
    put(number, nullptr, queue, shape, call);
}
void put_grid(const OwnProgram& program, const Queue& queue, const Grid& shape, const GridBackwardCall& call) {
    put(-1, &program, queue, shape, call);
}

void make_grid_ready(int number, const OwnProgram* program, const Grid& shape, Dtype storage) {
    kernel_of(number, program, shape, storage, static_cast<const GridCall*>(nullptr));
}
void make_grid_backward_ready(int number, const OwnProgram* program, const Grid& shape, Dtype storage) {
    kernel_of(number, program, shape, storage, static_cast<const GridBackwardCall*>(nullptr));
}

}  // namespace rnnkernels::cuda
