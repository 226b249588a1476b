// The question behind occupancy.h, of a kernel whose blocks fill a processor each.
#include "occupancy.h"

#include <cuda_runtime.h>

#include <map>
#include <mutex>

#include "../on_device.h"
#include "geometry.h"

namespace rnnkernels::cuda {
namespace {

constexpr int kThreads = kBlockWarps * kWarpLanes;

// With all the shared memory that a block may have. A resident kernel with less, and with few registers, could have two
// blocks on a processor; it is divided as if it had not.
__global__ void __launch_bounds__(kThreads, 1) fill_processor() {}

int ask(const void* kernel, int blocks, int shared) {
    cudaLaunchAttribute cluster{};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {static_cast<unsigned>(blocks), 1, 1};
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(kThreads);
    config.dynamicSmemBytes = static_cast<std::size_t>(shared);
    config.attrs = &cluster, config.numAttrs = 1;
    int count = 0;
    const cudaError_t found = cudaOccupancyMaxActiveClusters(&count, kernel, &config);
    if (found == cudaErrorInvalidClusterSize) return 0;
    return found == cudaSuccess ? count : kUnsaid;
}

}  // namespace

ClusterRoom asked_room(int device, int capability, int processors) {
    static std::mutex guard;
    static auto* kept = new std::map<int, ClusterRoom>;
    const std::lock_guard<std::mutex> lock(guard);
    if (const auto known = kept->find(device); known != kept->end()) return known->second;
    if (capability < 90) return (*kept)[device] = {};
    const OnDevice current(device);
    const auto* kernel = reinterpret_cast<const void*>(fill_processor);
    const int shared = most_shared(capability);
    const bool fills = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared) == cudaSuccess;
    const bool leave = cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1) == cudaSuccess;
    int said[kMostCluster + 1] = {};
    bool all_said = true;
    for (int blocks = 1; blocks <= kMostCluster; ++blocks) {
        if (blocks <= kPortableCluster || leave) said[blocks] = fills ? ask(kernel, blocks, shared) : kUnsaid;
        if (said[blocks] == kUnsaid) all_said = false;
    }
    cudaGetLastError();  // a refusal was an answer, and no error of the next call
    const ClusterRoom room = room_of(said, modelled_room(capability, processors));
    if (all_said) (*kept)[device] = room;  // else it is asked again
    return room;
}

}  // namespace rnnkernels::cuda
