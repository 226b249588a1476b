// Finds what open_blas.h says among the loaded libraries. Compiled once. Linux alone: elsewhere it finds nothing.
#include "open_blas.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#if defined(__linux__)
#include <dlfcn.h>
#include <link.h>
#endif

namespace rnnkernels::cpu {

#if defined(__linux__)
namespace {

int take_path(dl_phdr_info* info, std::size_t, void* paths) {
    const char* const slash = std::strrchr(info->dlpi_name, '/');
    if (slash == nullptr || std::strstr(slash, "blas") == nullptr) return 0;
    static_cast<std::vector<std::string>*>(paths)->emplace_back(info->dlpi_name);
    return 0;
}

// A library's handle, which is never given back: what is found in it is used from now on. Null where it is not loaded.
void* loaded(const char* path) { return dlopen(path, RTLD_NOLOAD | RTLD_NOW); }

// A public function of a library, whatever its build put around the name: NumPy's wheels have scipy_…64_.
template <class Function>
void find(void* library, const char* stem, Function& to) {
    for (const char* prefix : {"scipy_", ""}) {
        for (const char* suffix : {"64_", "_64", "64", ""}) {
            void* const found = dlsym(library, (std::string(prefix) + stem + suffix).c_str());
            if (found == nullptr) continue;
            to = reinterpret_cast<Function>(found);
            return;
        }
    }
}

// The threads that a build can have at most, as its description says; 0 where it does not say.
int most_threads(void* library) {
    const char* (*describe)() = nullptr;
    find(library, "openblas_get_config", describe);
    const char* const said = describe != nullptr ? std::strstr(describe(), "MAX_THREADS=") : nullptr;
    return said != nullptr ? std::atoi(said + std::strlen("MAX_THREADS=")) : 0;
}

void find_door(void* library, OpenBlas& blas) {
    constexpr int own_pool = 1;  // 2: OpenMP's
    int (*kind)() = nullptr;
    find(library, "openblas_get_parallel", kind);
    OpenBlas door;
    find(library, "openblas_set_threads_callback_function", door.set_callback);
    find(library, "openblas_threads_callback_", door.callback);
    find(library, "exec_blas_async", door.start);
    find(library, "exec_blas_async_wait", door.wait);
    find(library, "blas_num_threads", door.own_threads);
    door.places = most_threads(library);
    if (kind == nullptr || kind() != own_pool || door.set_callback == nullptr || door.callback == nullptr ||
        door.start == nullptr || door.wait == nullptr || door.own_threads == nullptr || door.places < 1)
        return;
    door.path = blas.path;
    door.threads = blas.threads;
    door.set_threads = blas.set_threads;
    blas = door;
}

}  // namespace

std::vector<OpenBlas> loaded_open_blas() {
    std::vector<std::string> paths;
    dl_iterate_phdr(take_path, &paths);
    std::vector<OpenBlas> found;
    for (const std::string& path : paths) {
        int (*threads)() = nullptr;
        if (void* const library = loaded(path.c_str())) find(library, "openblas_get_num_threads", threads);
        // A library that needs an OpenBLAS has its symbols, too: what counts is where they are.
        Dl_info where{};
        if (threads == nullptr || dladdr(reinterpret_cast<void*>(threads), &where) == 0) continue;
        if (std::any_of(found.begin(), found.end(), [&](const OpenBlas& b) { return b.threads == threads; })) continue;
        void* const library = loaded(where.dli_fname);
        OpenBlas blas;
        blas.path = where.dli_fname;
        blas.threads = threads;
        if (library != nullptr) find(library, "openblas_set_num_threads", blas.set_threads);
        if (blas.set_threads == nullptr) continue;
        find_door(library, blas);
        found.push_back(blas);
    }
    return found;
}

#else

std::vector<OpenBlas> loaded_open_blas() { return {}; }

#endif

}  // namespace rnnkernels::cpu
