// NVRTC behind dlopen, as cuBLAS is (cublas.cpp). The functions' types are part of its binary interface (nvrtc.h),
// which does not change within a major version.
#include "nvrtc.h"

#include <dlfcn.h>

#include <cstdlib>
#include <iterator>
#include <mutex>
#include <type_traits>
#include <vector>

#include "../device_table.h"

namespace rnnkernels::cuda {
namespace {

using Program = void*;
enum Result : int { kSuccess = 0 };
constexpr int kMajor = 13;
const char* const kName = "libnvrtc.so.13";

struct Library {
    Result (*version)(int*, int*);
    Result (*arch_count)(int*);
    Result (*archs)(int*);
    Result (*create)(Program*, const char*, const char*, int, const char* const*, const char* const*);
    Result (*compile)(Program, int, const char* const*);
    Result (*log_size)(Program, std::size_t*);
    Result (*log)(Program, char*);
    Result (*cubin_size)(Program, std::size_t*);
    Result (*cubin)(Program, char*);
    Result (*ptx_size)(Program, std::size_t*);
    Result (*ptx)(Program, char*);
    Result (*destroy)(Program*);
    const char* (*sentence)(Result);
    std::string file;
    std::string missing;  // why there is none
    bool found = false;
};

std::mutex& guard() {
    static std::mutex mutex;
    return mutex;
}

std::vector<std::string>& folders() {
    static std::vector<std::string> list;
    return list;
}

void* open_one(std::string& file) {
    if (const char* named = std::getenv("RNNKERNELS_NVRTC")) {
        file = named;
        return dlopen(named, RTLD_NOW | RTLD_LOCAL);
    }
    file = kName;
    if (void* loaded = dlopen(kName, RTLD_NOW | RTLD_NOLOAD)) return loaded;
    for (const std::string& folder : folders()) {
        file = folder + "/" + kName;
        if (void* found = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) return found;
    }
    file = kName;
    return dlopen(kName, RTLD_NOW | RTLD_LOCAL);
}

Library find_library() {
    Library found{};
    void* const library = open_one(found.file);
    if (!library) {
        const char* why = dlerror();
        found.missing =
            "NVRTC " + std::to_string(kMajor) + ", which compiles cells that are made of equations, was not found (" +
            (why ? why : found.file) + "): pip install 'rnnkernels[cuda13]', or name the file in RNNKERNELS_NVRTC";
        return found;
    }
    bool all = true;
    const auto take = [&](const char* symbol, auto& to) {
        to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(dlsym(library, symbol));
        all = all && to;
    };
    take("nvrtcVersion", found.version);
    take("nvrtcGetNumSupportedArchs", found.arch_count);
    take("nvrtcGetSupportedArchs", found.archs);
    take("nvrtcCreateProgram", found.create);
    take("nvrtcCompileProgram", found.compile);
    take("nvrtcGetProgramLogSize", found.log_size);
    take("nvrtcGetProgramLog", found.log);
    take("nvrtcGetCUBINSize", found.cubin_size);
    take("nvrtcGetCUBIN", found.cubin);
    take("nvrtcGetPTXSize", found.ptx_size);
    take("nvrtcGetPTX", found.ptx);
    take("nvrtcDestroyProgram", found.destroy);
    take("nvrtcGetErrorString", found.sentence);
    found.found = all;
    if (!all) found.missing = found.file + " is no NVRTC " + std::to_string(kMajor) + ": a function is missing";
    return found;
}

// Looked for again until it is found: a user may install it, or load it, meanwhile.
const Library& library() {
    static Library found;
    const std::lock_guard<std::mutex> lock(guard());
    if (!found.found) found = find_library();
    if (!found.found) throw Unavailable(found.missing);
    return found;
}

void check(const Library& nvrtc, Result result, const char* call) {
    if (result != kSuccess) throw Error(std::string(call) + ": " + nvrtc.sentence(result));
}

// Ended with its scope.
struct Compilation {
    const Library& nvrtc;
    Program program = nullptr;
    ~Compilation() {
        if (program) nvrtc.destroy(&program);
    }
};

// `virtual_only`: there is PTX for it, and no machine code.
struct Target {
    int arch;
    bool virtual_only;
};
Target target_of(const Library& nvrtc, int capability) {
    int count = 0;
    check(nvrtc, nvrtc.arch_count(&count), "nvrtcGetNumSupportedArchs");
    std::vector<int> archs(static_cast<std::size_t>(count));
    check(nvrtc, nvrtc.archs(archs.data()), "nvrtcGetSupportedArchs");
    int latest = 0;
    for (const int arch : archs)
        if (arch <= capability && arch > latest) latest = arch;
    if (latest == 0)
        throw Unavailable(nvrtc.file + " compiles for no GPU of capability " + std::to_string(capability / 10) + "." +
                          std::to_string(capability % 10));
    return {latest, latest != capability};
}

}  // namespace

std::string compile_source(const std::string& source, int capability) {
    const Library& nvrtc = library();
    const Target target = target_of(nvrtc, capability);
    const std::string arch =
        std::string("--gpu-architecture=") + (target.virtual_only ? "compute_" : "sm_") + std::to_string(target.arch);
    // --fmad=false: a fused multiply-add happens where the source says so (cmake/Cuda.cmake).
#if defined(NDEBUG)
    const char* const waits = "-URNNKERNELS_BOUNDED_WAITS";
#else
    const char* const waits = "-DRNNKERNELS_BOUNDED_WAITS";  // resident/machine.h
#endif
    const char* const options[] = {arch.c_str(), "--std=c++20", "--fmad=false", "-default-device", waits};
    Compilation own{nvrtc};
    check(nvrtc, nvrtc.create(&own.program, source.c_str(), "cell.cu", 0, nullptr, nullptr), "nvrtcCreateProgram");
    if (const Result result = nvrtc.compile(own.program, std::size(options), options); result != kSuccess) {
        std::size_t size = 0;
        std::string log;
        if (nvrtc.log_size(own.program, &size) == kSuccess && size > 1) {
            log.resize(size);
            nvrtc.log(own.program, log.data());
            log.resize(size - 1);
        }
        throw Error(std::string("nvrtcCompileProgram: ") + nvrtc.sentence(result) + "\n" + log);
    }
    std::size_t size = 0;
    check(nvrtc, (target.virtual_only ? nvrtc.ptx_size : nvrtc.cubin_size)(own.program, &size), "nvrtcGetCUBINSize");
    std::string code(size, '\0');
    check(nvrtc, (target.virtual_only ? nvrtc.ptx : nvrtc.cubin)(own.program, code.data()), "nvrtcGetCUBIN");
    return code;
}

void set_nvrtc_folders(const char* const* given, int count) {
    const std::lock_guard<std::mutex> lock(guard());
    folders().assign(given, given + count);
}

NvrtcInfo nvrtc_info() {
    const Library& nvrtc = library();
    int major = 0, minor = 0;
    check(nvrtc, nvrtc.version(&major, &minor), "nvrtcVersion");
    return {nvrtc.file.c_str(), major, minor};
}

}  // namespace rnnkernels::cuda
