// The work of a call as one piece (a CUDA graph): recorded once, put into a stream as a whole as often as it comes
// again. No CUDA types: what includes this can be compiled, and tested, without.
#pragma once

#include <functional>

namespace rnnkernels::cuda {

// Puts work into the stream it is given.
using Record = std::function<void(void* stream)>;

// On the current device.
class Graph {
public:
    // Records, and runs nothing.
    explicit Graph(const Record& record);
    ~Graph();
    Graph(const Graph&) = delete;
    Graph& operator=(const Graph&) = delete;

    void run(void* stream) const;

private:
    void* executable_ = nullptr;
};

// Whether somebody records this stream: what is put into it belongs to a graph of theirs.
bool is_recorded(void* stream);

}  // namespace rnnkernels::cuda
