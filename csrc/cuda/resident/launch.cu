// Resident kernels on a GPU: compiled by NVRTC when a cell, a shape and a dtype first come together, and kept.
#include "launch.h"

#include <map>
#include <mutex>
#include <tuple>

#include "../loaded.h"
#include "../queue.h"
#include "pair.h"
#include "source.h"

namespace rnnkernels::cuda {
namespace {

// That of a source, on the current device.
cudaKernel_t kernel_of(const char* prelude, const std::string& source, const char* name, const Resident& of,
                       int shared_bytes) {
    static std::mutex guard;
    static auto* kept = new std::map<std::tuple<int, std::string>, cudaKernel_t>;
    const int device = current_device();
    const std::lock_guard<std::mutex> lock(guard);
    cudaKernel_t& kernel = (*kept)[{device, source}];
    if (kernel) return kernel;
    cudaKernel_t found{};
    RNNKERNELS_CHECK(cudaLibraryGetKernel(&found, loaded(prelude, source, capability_of(device)), name));
    RNNKERNELS_CHECK(
        cudaKernelSetAttributeForDevice(found, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes, device));
    if (of.blocks > 8)
        RNNKERNELS_CHECK(
            cudaKernelSetAttributeForDevice(found, cudaFuncAttributeNonPortableClusterSizeAllowed, 1, device));
    return kernel = found;
}
cudaKernel_t forward_of(int number, const OwnProgram* program, const Resident& shape, Dtype storage, bool pair) {
    return kernel_of(kResidentPrelude, resident_source(number, program, shape, storage, pair), kResidentKernel, shape,
                     shape.shared_bytes());
}
cudaKernel_t backward_of(int number, const OwnProgram* program, const ResidentBackward& shape, Dtype storage,
                         bool pair) {
    return kernel_of(kResidentBackwardPrelude, resident_backward_source(number, program, shape, storage, pair),
                     kResidentBackwardKernel, shape.of, shape.shared_bytes());
}

// A kernel with one argument.
void launch(const Queue& queue, cudaKernel_t kernel, int clusters, const Resident& of, int shared_bytes,
            const void* argument) {
    cudaLaunchAttribute cluster{};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {static_cast<unsigned>(of.blocks), 1, 1};
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(clusters * of.blocks));
    config.blockDim = dim3(static_cast<unsigned>(of.warps * kWarp));
    config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes);
    config.stream = static_cast<cudaStream_t>(queue.stream);
    config.attrs = &cluster, config.numAttrs = 1;
    void* arguments[] = {const_cast<void*>(argument)};
    RNNKERNELS_CHECK(cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(kernel), arguments));
}

void put(int number, const OwnProgram* program, const Queue& queue, const Resident& shape, const ResidentCall& call) {
    ResidentPair pair{};
    if (queue.pair) pair = queue.pair->with(shape, call);
    const int clusters = pair.clusters + clusters_of(shape, call.batch);
    if (clusters == 0 || call.steps == 0) return;
    launch(queue, forward_of(number, program, shape, call.a.storage, queue.pair != nullptr), clusters, shape,
           shape.shared_bytes(), queue.pair ? static_cast<const void*>(&pair) : &call);
}

void put(int number, const OwnProgram* program, const Queue& queue, const ResidentBackward& shape,
         const ResidentBackwardCall& call) {
    ResidentBackwardPair pair{};
    if (queue.backward_pair) pair = queue.backward_pair->with(shape.of, call);
    const int clusters = pair.clusters + clusters_of(shape.of, call.batch);
    if (clusters == 0 || call.steps == 0) return;
    launch(queue, backward_of(number, program, shape, call.a.storage, queue.backward_pair != nullptr), clusters,
           shape.of, shape.shared_bytes(), queue.backward_pair ? static_cast<const void*>(&pair) : &call);
}

}  // namespace

void put_resident(int number, const Queue& queue, const Resident& shape, const ResidentCall& call) {
    put(number, nullptr, queue, shape, call);
}
void put_resident(const OwnProgram& program, const Queue& queue, const Resident& shape, const ResidentCall& call) {
    put(-1, &program, queue, shape, call);
}

void make_resident_ready(int number, const OwnProgram* program, const Resident& shape, Dtype storage, bool pair) {
    forward_of(number, program, shape, storage, pair);
}

void put_resident_backward(int number, const Queue& queue, const ResidentBackward& shape,
                           const ResidentBackwardCall& call) {
    put(number, nullptr, queue, shape, call);
}
void put_resident_backward(const OwnProgram& program, const Queue& queue, const ResidentBackward& shape,
                           const ResidentBackwardCall& call) {
    put(-1, &program, queue, shape, call);
}

void make_resident_backward_ready(int number, const OwnProgram* program, const ResidentBackward& shape, Dtype storage,
                                  bool pair) {
    backward_of(number, program, shape, storage, pair);
}

}  // namespace rnnkernels::cuda
