// Resident kernels on a GPU: compiled by NVRTC when a cell, a shape and a dtype first come together, and kept.
#include "launch.h"

#include <map>
#include <mutex>
#include <tuple>

#include "../loaded.h"
#include "../queue.h"
#include "source.h"

namespace rnnkernels::cuda {
namespace {

// On the current device.
cudaKernel_t kernel_of(int number, const OwnProgram* program, const Resident& shape, Dtype storage) {
    static std::mutex guard;
    static auto* kept = new std::map<std::tuple<int, std::string>, cudaKernel_t>;
    const int device = current_device();
    const std::string source = resident_source(number, program, shape, storage);
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
    const Index rows = shape.cluster_rows(), clusters = (call.batch + rows - 1) / rows;
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
    void* arguments[] = {const_cast<ResidentCall*>(&call)};
    RNNKERNELS_CHECK(cudaLaunchKernelExC(
        &config, reinterpret_cast<const void*>(kernel_of(number, program, shape, call.a.storage)), arguments));
}

}  // namespace

void put_resident(int number, const Queue& queue, const Resident& shape, const ResidentCall& call) {
    put(number, nullptr, queue, shape, call);
}
void put_resident(const OwnProgram& program, const Queue& queue, const Resident& shape, const ResidentCall& call) {
    put(-1, &program, queue, shape, call);
}

void make_resident_ready(int number, const OwnProgram* program, const Resident& shape, Dtype storage) {
    kernel_of(number, program, shape, storage);
}

}  // namespace rnnkernels::cuda
