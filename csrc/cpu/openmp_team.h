// Calls on the threads of an OpenMP runtime that is loaded, through the entry points of GNU's.
#pragma once

#include <exception>

#include "crew.h"

namespace rnnkernels::cpu {

class OpenMpTeam {
public:
    // Whether a library of this name is loaded and has them all.
    bool find(const char* library);
    // Runs a call; false, having done nothing, where another caller is at work, the runtime has one thread for us, or
    // calls should go alone for the time being.
    bool run(int threads, Prepare prepare, Task task, void* context, Watch& watch);

private:
    struct Region;
    static void enter(void* region);

    void (*parallel_)(void (*)(void*), void*, unsigned, unsigned) = nullptr;
    int (*thread_)() = nullptr;
    int (*size_)() = nullptr;
    int (*most_)() = nullptr;
    std::atomic<bool> in_use_{false};
    Crew crew_;
};

}  // namespace rnnkernels::cpu
