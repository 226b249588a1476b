// How a call that takes long is stopped from outside (Ctrl-C). Plain data, shared by the threads of a call.
//
// Somebody raises `flag` to kAsk now and then while the call runs; short calls have no Watch at all. The engines look
// at the flag between pieces of work of some milliseconds at most. The call's own thread then asks `go_on`; where the
// answer is no, every thread leaves its work at its next look (Stopped), wherever the others are: a thread that waits
// for another looks, too. So nobody has to agree on a step, and a look costs two instructions.
#pragma once

namespace rnnkernels {

struct Watch {
    enum Flag { kRun, kAsk, kStop };  // kStop is final
    int flag = kRun;
    bool (*go_on)(void* context) = nullptr;
    void* context = nullptr;
    const void* asker = nullptr;  // the thread that asks (cpu/threads.cpp)
};

// Thrown out of a call that was stopped. What the call was to fill is half-written.
struct Stopped {};

}  // namespace rnnkernels
