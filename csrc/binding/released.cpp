// The end of a thread that released.h speaks of.
#include "released.h"

#include <chrono>
#include <thread>

namespace rnnkernels::binding {

void Released::take_back() {
    try {
        PyEval_RestoreThread(state_);
    } catch (...) {  // pthread_exit, which unwinds the stack and must not be kept from it: nothing comes back from here
        for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    }
}

}  // namespace rnnkernels::binding
