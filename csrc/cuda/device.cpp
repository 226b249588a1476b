// The functions of device_table.h and on_device.h.
#include "../device_table.h"

#include <cstring>

#include "check.h"
#include "on_device.h"

namespace rnnkernels::cuda {

OnDevice::OnDevice(int device) {
    RNNKERNELS_CHECK(cudaGetDevice(&before_));
    if (device == before_) return;
    RNNKERNELS_CHECK(cudaSetDevice(device));
    changed_ = true;
}

// What fails here failed before, and was said then.
OnDevice::~OnDevice() {
    if (changed_) cudaSetDevice(before_);
}

int device_count() {
    int count = 0;
    RNNKERNELS_CHECK(cudaGetDeviceCount(&count));
    return count;
}

DeviceInfo device_info(int device) {
    cudaDeviceProp found{};
    RNNKERNELS_CHECK(cudaGetDeviceProperties(&found, device));
    DeviceInfo info{{}, found.major * 10 + found.minor, found.multiProcessorCount, found.totalGlobalMem};
    std::strncpy(info.name, found.name, sizeof info.name - 1);
    return info;
}

Versions versions() {
    Versions found{};
    RNNKERNELS_CHECK(cudaRuntimeGetVersion(&found.runtime));
    RNNKERNELS_CHECK(cudaDriverGetVersion(&found.driver));
    return found;
}

void* take_memory(int device, Index bytes) {
    const OnDevice current(device);
    void* memory = nullptr;
    if (bytes > 0) RNNKERNELS_CHECK(cudaMallocAsync(&memory, static_cast<std::size_t>(bytes), nullptr));
    return memory;
}

void give_memory(void* memory) {
    if (memory) cudaFreeAsync(memory, nullptr);
}

void copy_in(const void* host, void* device, Index bytes) {
    RNNKERNELS_CHECK(cudaMemcpy(device, host, static_cast<std::size_t>(bytes), cudaMemcpyHostToDevice));
}

void copy_out(const void* device, void* host, Index bytes) {
    RNNKERNELS_CHECK(cudaMemcpy(host, device, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToHost));
}

int device_of(void* stream) {
    int device = 0;
    RNNKERNELS_CHECK(cudaStreamGetDevice(static_cast<cudaStream_t>(stream), &device));
    return device;
}

void fill(void* stream, void* memory, int value, Index bytes) {
    if (bytes > 0)
        RNNKERNELS_CHECK(
            cudaMemsetAsync(memory, value, static_cast<std::size_t>(bytes), static_cast<cudaStream_t>(stream)));
}

void copy(int device, void* stream, const void* from, void* to, Index bytes) {
    if (bytes == 0) return;
    const OnDevice current(device);
    RNNKERNELS_CHECK(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDefault,
                                     static_cast<cudaStream_t>(stream)));
}

void wait(int device, void* stream) {
    const OnDevice current(device);
    RNNKERNELS_CHECK(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)));
}

}  // namespace rnnkernels::cuda
