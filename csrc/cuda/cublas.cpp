// cuBLAS behind dlopen. Types and constants are written here in our own words: they are part of the library's binary
// interface (cublas_api.h, library_types.h), which does not change within a major version.
#include "cublas.h"

#include <dlfcn.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "check.h"

namespace rnnkernels::cuda {
namespace {

using Handle = void*;
enum Status : int { kSuccess = 0, kAllocationFailed = 3 };
enum Operation : int { kAsItIs = 0, kTransposed = 1 };
enum DataType : int { kFloat32 = 0, kFloat64 = 1, kFloat16 = 2, kBfloat16 = 14 };
enum Compute : int { kIn32 = 68, kIn64 = 70, kInTf32 = 77 };
constexpr int kDefaultAlgorithm = -1;
constexpr int kMajor = 13;
const char* const kName = "libcublas.so.13";

struct Library {
    Status (*create)(Handle*);
    Status (*set_stream)(Handle, void*);
    Status (*set_workspace)(Handle, void*, std::size_t);
    Status (*multiply)(Handle, Operation, Operation, Index, Index, Index, const void*, const void*, DataType, Index,
                       const void*, DataType, Index, const void*, void*, DataType, Index, Compute, int);
    Status (*multiply_many)(Handle, Operation, Operation, Index, Index, Index, const void*, const void*, DataType,
                            Index, long long, const void*, DataType, Index, long long, const void*, void*, DataType,
                            Index, long long, Index, Compute, int);
    Status (*version)(Handle, int*);
    const char* (*sentence)(Status);
    std::string file;
    std::string missing;  // why there is none
};

std::mutex& guard() {
    static std::mutex mutex;
    return mutex;
}

std::vector<std::string>& folders() {
    static std::vector<std::string> list;
    return list;
}

template <class Function>
bool take(void* library, const char* symbol, Function& to) {
    to = reinterpret_cast<Function>(dlsym(library, symbol));
    return to != nullptr;
}

void* open_one(std::string& file) {
    if (const char* named = std::getenv("RNNKERNELS_CUBLAS")) {
        file = named;
        return dlopen(named, RTLD_NOW | RTLD_LOCAL);
    }
    file = kName;
    if (void* loaded = dlopen(kName, RTLD_NOW | RTLD_NOLOAD)) return loaded;
    for (const std::string& folder : folders()) {
        file = folder + "/" + kName;
        // It needs libcublasLt, which lies beside it.
        dlopen((folder + "/libcublasLt.so.13").c_str(), RTLD_NOW | RTLD_LOCAL);
        if (void* found = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) return found;
    }
    file = kName;
    return dlopen(kName, RTLD_NOW | RTLD_LOCAL);
}

Library find_library() {
    Library found{};
    void* library = open_one(found.file);
    if (!library) {
        const char* why = dlerror();
        found.missing = "cuBLAS " + std::to_string(kMajor) + " was not found (" + (why ? why : found.file) +
                        "): pip install 'rnnkernels[cuda13]', or name the file in RNNKERNELS_CUBLAS";
    } else if (!take(library, "cublasCreate_v2", found.create) ||
               !take(library, "cublasSetStream_v2", found.set_stream) ||
               !take(library, "cublasSetWorkspace_v2", found.set_workspace) ||
               !take(library, "cublasGemmEx_64", found.multiply) ||
               !take(library, "cublasGemmStridedBatchedEx_64", found.multiply_many) ||
               !take(library, "cublasGetVersion_v2", found.version) ||
               !take(library, "cublasGetStatusString", found.sentence)) {
        found.missing = found.file + " is no cuBLAS " + std::to_string(kMajor) + ": a function is missing";
    }
    return found;
}

// Looked for again until it is found: a user may install it, or load it, meanwhile.
const Library& library() {
    static Library found;
    const std::lock_guard<std::mutex> lock(guard());
    if (!found.multiply || !found.missing.empty()) found = find_library();
    if (!found.missing.empty()) throw Unavailable(found.missing);
    return found;
}

void check(Status status, const char* call) {
    if (status == kSuccess) return;
    const std::string text = std::string(call) + ": " + library().sentence(status);
    if (status == kAllocationFailed) throw OutOfMemory(text);
    throw Error(text);
}

// Handles that no call holds, of each device. They live as long as the process.
std::map<int, std::vector<Handle>>& idle_handles() {
    static auto* handles = new std::map<int, std::vector<Handle>>;
    return *handles;
}

Handle take_handle(const Library& blas, int device) {
    {
        const std::lock_guard<std::mutex> lock(guard());
        auto& idle = idle_handles()[device];
        if (!idle.empty()) {
            Handle handle = idle.back();
            idle.pop_back();
            return handle;
        }
    }
    Handle handle = nullptr;
    check(blas.create(&handle), "cublasCreate");
    return handle;
}

constexpr DataType type_of(Dtype dtype) {
    switch (dtype) {
        case Dtype::float64: return kFloat64;
        case Dtype::bfloat16: return kBfloat16;
        case Dtype::float16: return kFloat16;
        default: return kFloat32;
    }
}

// cuBLAS has columns one after the other: of rows after rows it sees the transposed matrices, and gives the transposed
// product for c^T = b^T a^T.
void multiply(const Queue& queue, const Product& p) {
    const Library& blas = library();
    static constexpr float one = 1, zero = 0;
    static constexpr double one64 = 1, zero64 = 0;
    const bool wide = p.operands == Dtype::float64;
    const void* alpha = wide ? static_cast<const void*>(&one64) : &one;
    const void* beta = p.accumulate ? alpha : wide ? static_cast<const void*>(&zero64) : &zero;
    const DataType operands = type_of(p.operands);
    const bool tf32 = queue.products->tf32 && p.operands == Dtype::float32;
    const Operation of_b = p.b_transposed ? kTransposed : kAsItIs, of_a = p.a_transposed ? kTransposed : kAsItIs;
    const Compute compute = wide ? kIn64 : tf32 ? kInTf32 : kIn32;
    Handle const handle = queue.products->context;
    if (p.count == 1)
        check(blas.multiply(handle, of_b, of_a, p.n, p.m, p.k, alpha, p.b, operands, p.b_stride, p.a, operands,
                            p.a_stride, beta, p.c, type_of(p.result), p.c_stride, compute, kDefaultAlgorithm),
              "cublasGemmEx");
    else
        check(blas.multiply_many(handle, of_b, of_a, p.n, p.m, p.k, alpha, p.b, operands, p.b_stride, p.b_step, p.a,
                                 operands, p.a_stride, p.a_step, beta, p.c, type_of(p.result), p.c_stride, p.c_step,
                                 p.count, compute, kDefaultAlgorithm),
              "cublasGemmStridedBatchedEx");
}

}  // namespace

Cublas::Cublas(void* stream, void* workspace, bool tf32) {
    const Library& blas = library();
    RNNKERNELS_CHECK(cudaGetDevice(&device_));
    handle_ = take_handle(blas, device_);
    products_ = {"cublas", multiply, handle_, tf32};
    check(blas.set_stream(handle_, stream), "cublasSetStream");
    check(blas.set_workspace(handle_, workspace, static_cast<std::size_t>(kCublasWorkspace)), "cublasSetWorkspace");
}

Cublas::~Cublas() {
    const std::lock_guard<std::mutex> lock(guard());
    idle_handles()[device_].push_back(handle_);
}

void set_cublas_folders(const char* const* given, int count) {
    const std::lock_guard<std::mutex> lock(guard());
    folders().assign(given, given + count);
}

CublasInfo cublas_info() {
    const Library& blas = library();
    int version = 0;
    check(blas.version(nullptr, &version), "cublasGetVersion");  // needs no handle, and so no device
    return {blas.file.c_str(), version};
}

}  // namespace rnnkernels::cuda
