// The GIL, given back for as long as kernels run or copies wait.
//
// pybind11's gil_scoped_release does the same, but for a daemon thread that wants the GIL back while the interpreter
// ends. Python before 3.14 ends such a thread by unwinding its stack, and that may not leave a destructor: the process
// dies of std::terminate. Nor may the thread run on, or drop references to objects: it holds no GIL. So it stops where
// it stands until the process is gone, as Python 3.14 has it do.
#pragma once

#include "array.h"

namespace rnnkernels::binding {

class Released {
public:
    Released() : state_(PyEval_SaveThread()) {}
    ~Released() { take_back(); }
    Released(const Released&) = delete;
    Released& operator=(const Released&) = delete;

    // Has signal handlers run that are due, if this is the main thread; false, with a Python error set, where one of
    // them raised.
    bool check_signals() {
        take_back();
        const bool quiet = PyErr_CheckSignals() == 0;
        state_ = PyEval_SaveThread();
        return quiet;
    }

private:
    void take_back();

    PyThreadState* state_;
};

}  // namespace rnnkernels::binding
