// The copies of OpenBLAS that this process has loaded (NumPy's, SciPy's, a system's), as far as their threads go: found
// by their symbols at run time, never linked with. Not here: whose threads their work runs on (shared_blas.h).
//
// OpenBLAS 0.3.27 and later hands the jobs of a call to a callback, if it has one. A job's first argument is a *place*:
// the number of a scratch buffer and of a mark that says "busy". OpenBLAS' own threads have the places from 0, and
// there are MAX_THREADS places in all. Two jobs that run in one place at once overwrite each other's buffer.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace rnnkernels::cpu {

struct OpenBlas {
    // Job i of a call is job(place, data + i * size, extra).
    using Job = void (*)(int place, void* data, int extra);
    using Callback = void (*)(int sync, Job job, int jobs, std::size_t size, void* data, int extra);

    std::string path;
    int (*threads)() = nullptr;  // that a call may use
    void (*set_threads)(int threads) = nullptr;

    // All of these, or none where the library cannot be shared: it is older, or its threads are OpenMP's.
    void (*set_callback)(Callback callback) = nullptr;
    Callback* callback = nullptr;                       // the one in use
    int (*start)(long position, void* jobs) = nullptr;  // a list of jobs, on OpenBLAS' own threads
    int (*wait)(long count, void* jobs) = nullptr;
    const int* own_threads = nullptr;  // the caller's counted; the others have the places from 0
    int places = 0;
};

// Every OpenBLAS that is loaded now, each once.
std::vector<OpenBlas> loaded_open_blas();

}  // namespace rnnkernels::cpu
