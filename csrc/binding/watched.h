// Calls that run without the GIL, and hear Ctrl-C all the same (recurrence/watch.h).
//
// Only the main thread runs signal handlers, and it needs the GIL for it. To take the GIL between steps would cost a
// short call more than its work, and to read a clock there would, too. So a call of the main thread that has much to do
// is made known to one sleeping thread of this module, which raises the call's flag once it is 50 to 100 ms old, and
// every 50 ms from then on. A handler that returns lets the call go on; where one raises, the call ends with its
// exception, and its results are dropped. Calls of other threads, and short ones, know nothing of all this.
#pragma once

#include "released.h"

namespace rnnkernels::binding {

class Watched {
public:
    // Whether a call takes so long that it is made known at all.
    static bool takes_long(const Inputs& in, std::size_t layers = 1);

    // What is asked of the kernels, `layers` times.
    explicit Watched(const Inputs& in, std::size_t layers = 1);
    ~Watched();
    Watched(const Watched&) = delete;
    Watched& operator=(const Watched&) = delete;

    // For Inputs::watch; null: nothing will stop this call.
    Watch* watch() { return on_ ? &watch_ : nullptr; }

    // run() without the GIL. Throws what a signal handler raised.
    template <class Run>
    void run(Run run) {
        try {
            Released released;
            watch_.context = &released;
            run();
        } catch (const Stopped&) {
            throw py::error_already_set();
        }
    }

private:
    Watch watch_;
    Watch* before_ = nullptr;  // the call in whose signal handler this one runs
    void* ticker_ = nullptr;
    bool on_ = false;
};

}  // namespace rnnkernels::binding
