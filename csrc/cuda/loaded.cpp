// The list behind loaded.h.
#include "loaded.h"

#include <map>
#include <mutex>
#include <tuple>

#include "check.h"
#include "nvrtc.h"

namespace rnnkernels::cuda {

int current_device() {
    int device = 0;
    RNNKERNELS_CHECK(cudaGetDevice(&device));
    return device;
}

int capability_of(int device) {
    int major = 0, minor = 0;
    RNNKERNELS_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
    RNNKERNELS_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
    return major * 10 + minor;
}

// Never destroyed: CUDA may be gone by then.
cudaLibrary_t loaded(const char* prelude, const std::string& source, int capability) {
    static std::mutex guard;
    static auto* all = new std::map<std::tuple<int, const char*, std::string>, cudaLibrary_t>;
    const std::lock_guard<std::mutex> lock(guard);
    cudaLibrary_t& library = (*all)[{capability, prelude, source}];
    if (!library) {
        const std::string code = compile_source(prelude + source, capability);
        RNNKERNELS_CHECK(cudaLibraryLoadData(&library, code.data(), nullptr, nullptr, 0, nullptr, nullptr, 0));
    }
    return library;
}

}  // namespace rnnkernels::cuda
