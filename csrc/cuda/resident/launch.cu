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

// On the current device.
cudaKernel_t kernel_of(int number, const OwnProgram* program, const Resident& shape, Dtype storage, bool pair) {
    static std::mutex guard;
    static auto* kept = new std::map<std::tuple<int, std::string>, cudaKernel_t>;
    const int device = current_device();
    const std::string source = resident_source(number, program, shape, storage, pair);
    const std::lock_guard<std::mutex> lock(guard);
    cudaKernel_t& kernel = (*kept)[{device, source}];
    if (kernel) return kernel;
    cudaKernel_t found{};
    RNNKERNELS_CHECK(
        cudaLibraryGetKernel(&found, loaded(kResidentPrelude, source, capability_of(device)), kResidentKernel));
    RNNKERNELS_CHECK(cudaKernelSetAttributeForDevice(found, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                     shape.shared_bytes(), device));
    if (shape.blocks > 8)
        RNNKERNELS_CHECK(
            cudaKernelSetAttributeForDevice(found, cudaFuncAttributeNonPortableClusterSizeAllowed, 1, device));
    return kernel = found;
}

void put(int number, const OwnProgram* program, const Queue& queue, const Resident& shape, const ResidentCall& call) {
    int clusters = clusters_of(shape, call.batch);
    ResidentPair pair{};
    if (queue.pair) {
        pair = *queue.pair, queue.pair->has_first = false;
        pair.call[1] = call;
        pair.clusters = clusters_of(shape, pair.call[0].batch);
        clusters += pair.clusters;
    }
    if (clusters == 0 || call.steps == 0) return;
    cudaLaunchAttribute cluster{};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {static_cast<unsigned>(shape.blocks), 1, 1};
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(clusters * shape.blocks));
    config.blockDim = dim3(static_cast<unsigned>(shape.warps * kWarp));
    config.dynamicSmemBytes = static_cast<std::size_t>(shape.shared_bytes());
    config.stream = static_cast<cudaStream_t>(queue.stream);
    config.attrs = &cluster, config.numAttrs = 1;
    void* arguments[] = {queue.pair ? static_cast<void*>(&pair) : const_cast<ResidentCall*>(&call)};
    const cudaKernel_t kernel = kernel_of(number, program, shape, call.a.storage, queue.pair != nullptr);
    RNNKERNELS_CHECK(cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(kernel), arguments));
}

}  // namespace

void put_resident(int number, const Queue& queue, const Resident& shape, const ResidentCall& call) {
    put(number, nullptr, queue, shape, call);
}
void put_resident(const OwnProgram& program, const Queue& queue, const Resident& shape, const ResidentCall& call) {
    put(-1, &program, queue, shape, call);
}

void make_resident_ready(int number, const OwnProgram* program, const Resident& shape, Dtype storage, bool pair) {
    kernel_of(number, program, shape, storage, pair);
}

}  // namespace rnnkernels::cuda
