// A device that is the host's memory, for the module _cuda_emulated: everything of the CUDA backend but CUDA itself and
// cuBLAS. The binding with its views, csrc/cuda/backend.cpp and the kernels run as they do on a GPU, but each piece of
// work at once and its threads one after another, in a scrambled order (csrc/cuda/queue.h): the tests of every cell and
// option see all of that code where there is no GPU. Its memory begins as NaN.
#include <cstdlib>
#include <cstring>
#include <string>

#include "cuda/cublas.h"
#include "cuda/drop.cu"
#include "cuda/graph.h"
#include "cuda/on_device.h"
#include "cuda/reference.cu"
#include "cuda/resident/occupancy.h"
#include "device_table.h"
#include "emulated_sides.h"

namespace rnnkernels::cuda {
namespace {

constexpr int kDevices = 2;  // so that arrays can be on the wrong one
constexpr int kProcessors = 2;
int current = 0;
int copies = 0;
ClusterRoom room = kProcessors;

void check_device(int device) {
    if (device < 0 || device >= kDevices)
        throw Error("cudaSetDevice(device): cudaErrorInvalidDevice, invalid device ordinal " + std::to_string(device));
}

}  // namespace

OnDevice::OnDevice(int device) : before_(current) {
    check_device(device);
    current = device;
}
OnDevice::~OnDevice() { current = before_; }

// cuBLAS's part is played by the plain products.
Cublas::Cublas(void*, void*, bool tf32) : handle_(nullptr), device_(current), products_(reference_products()) {
    products_.tf32 = tf32;
}
Cublas::~Cublas() = default;

Graph::Graph(const Record& record) : executable_(new Recording) { record(executable_); }
Graph::~Graph() { delete static_cast<Recording*>(executable_); }
void Graph::run(void* stream) const {
    if (stream) throw Error("cudaGraphLaunch: no graph in a graph here");
    for (const auto& work : *static_cast<Recording*>(executable_)) work();
}
bool is_recorded(void* stream) { return stream != nullptr; }

int device_count() { return kDevices; }
DeviceInfo device_info(int device) {
    check_device(device);
    return {"the host", 90, kProcessors, std::size_t{1} << 30};
}
ClusterRoom asked_room(int, int, int) { return room; }
Versions versions() { return {13000, 13000}; }

void* take_memory(int device, Index bytes) {
    check_device(device);
    if (bytes == 0) return nullptr;
    void* memory = std::aligned_alloc(256, static_cast<std::size_t>((bytes + 255) / 256 * 256));
    if (!memory) throw OutOfMemory("cudaMallocAsync: cudaErrorMemoryAllocation, out of memory");
    std::memset(memory, 0xff, static_cast<std::size_t>(bytes));
    return memory;
}
void give_memory(void* memory) { std::free(memory); }
void copy_in(const void* host, void* device, Index bytes) {
    if (bytes > 0) std::memcpy(device, host, static_cast<std::size_t>(bytes));
}
void copy_out(const void* device, void* host, Index bytes) { copy_in(device, host, bytes); }
int device_of(void*) { return current; }
void copy(int, void* stream, const void* from, void* to, Index bytes) {
    ++copies;
    const auto work = [=] { copy_in(from, to, bytes); };
    if (stream)
        static_cast<Recording*>(stream)->push_back(work);
    else
        work();
}
void wait(int, void*) {}
void fill(void*, void* memory, int value, Index bytes) {
    if (bytes > 0) std::memset(memory, value, static_cast<std::size_t>(bytes));
}

void set_cublas_folders(const char* const*, int) {}
CublasInfo cublas_info() { throw Unavailable("cuBLAS 13 was not found (emulated): pip install 'rnnkernels[cuda13]'"); }

}  // namespace rnnkernels::cuda

// A stream that its owner records, how many copies have been put into streams, and clusters for the card from now on:
// those of so many processors, of at most so many blocks. For tests (by ctypes).
extern "C" {
__attribute__((visibility("default"))) void emulated_clusters(int processors, int most_blocks) {
    rnnkernels::cuda::room = processors;
    for (int blocks = most_blocks + 1; blocks <= rnnkernels::cuda::kMostCluster; ++blocks)
        rnnkernels::cuda::room.count[blocks] = 0;
}
__attribute__((visibility("default"))) int emulated_copies() { return rnnkernels::cuda::copies; }
__attribute__((visibility("default"))) void* emulated_recording() { return new rnnkernels::cuda::Recording; }
__attribute__((visibility("default"))) void emulated_replay(void* stream) {
    for (const auto& work : *static_cast<rnnkernels::cuda::Recording*>(stream)) work();
}
}
