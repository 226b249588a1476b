// The end of a thread that released.h speaks of.
#include "released.h"

#include <chrono>
#include <thread>
#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

namespace rnnkernels::binding {

void Released::take_back() {
#if defined(__GLIBCXX__)
    try {
        PyEval_RestoreThread(state_);
    } catch (abi::__forced_unwind&) {  // pthread_exit; it does not come back from here
        for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    }
#else
    PyEval_RestoreThread(state_);
#endif
}

}  // namespace rnnkernels::binding
