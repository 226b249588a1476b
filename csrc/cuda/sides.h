// Streams beside a caller's, and events between them. Made once for each device and kept; nobody else has one while
// this holds it. Nothing here waits for the device. No CUDA types: what includes this can be compiled, and tested,
// without.
//
// Where the caller's stream is recorded (a CUDA graph) these become part of the graph, as long as each begins with a
// wait for an event of the caller's stream and the caller's stream waits for the last event of each at the end. Memory
// of the caller's allocator may be used in them for the same reason: all is over in the order of the caller's stream.
#pragma once

#include <memory>

namespace rnnkernels::cuda {

class Sides {
public:
    // Of the current device.
    Sides(int streams, int events);
    ~Sides();
    Sides(const Sides&) = delete;
    Sides& operator=(const Sides&) = delete;

    void* stream(int side) const;
    // An event is over when what stands in the stream now is done.
    void record(int event, void* stream);
    // What is put into the stream from now on begins when the event is over.
    void wait(void* stream, int event);

private:
    struct Held;
    std::unique_ptr<Held> held_;
};

}  // namespace rnnkernels::cuda
