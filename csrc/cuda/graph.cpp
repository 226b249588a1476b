// graph.h by CUDA.
#include "graph.h"

#include "check.h"

namespace rnnkernels::cuda {
namespace {

// A stream to record in: the caller's may be the default one, which cannot be recorded.
class Recorder {
public:
    Recorder() { RNNKERNELS_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
    ~Recorder() {
        if (recording_) {  // something threw
            cudaGraph_t graph = nullptr;
            if (cudaStreamEndCapture(stream_, &graph) == cudaSuccess && graph) cudaGraphDestroy(graph);
            cudaGetLastError();
        }
        cudaStreamDestroy(stream_);
    }
    Recorder(const Recorder&) = delete;
    Recorder& operator=(const Recorder&) = delete;

    cudaGraph_t graph_of(const Record& record) {
        // Relaxed: a handle of cuBLAS that has to be made meanwhile takes memory, which is none of the graph's.
        RNNKERNELS_CHECK(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed));
        recording_ = true;
        record(stream_);
        recording_ = false;
        cudaGraph_t graph = nullptr;
        RNNKERNELS_CHECK(cudaStreamEndCapture(stream_, &graph));
        return graph;
    }

private:
    cudaStream_t stream_ = nullptr;
    bool recording_ = false;
};

}  // namespace

Graph::Graph(const Record& record) {
    cudaGraph_t graph = Recorder().graph_of(record);
    cudaGraphExec_t executable = nullptr;
    const cudaError_t made = cudaGraphInstantiate(&executable, graph, 0);
    cudaGraphDestroy(graph);
    if (made != cudaSuccess) fail(made, "cudaGraphInstantiate", RNNKERNELS_SHORT_FILE, __LINE__);
    executable_ = executable;
}

// One that still runs ends first.
Graph::~Graph() { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(executable_)); }

void Graph::run(void* stream) const {
    RNNKERNELS_CHECK(cudaGraphLaunch(static_cast<cudaGraphExec_t>(executable_), static_cast<cudaStream_t>(stream)));
}

bool is_recorded(void* stream) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    if (cudaStreamIsCapturing(static_cast<cudaStream_t>(stream), &status) == cudaSuccess)
        return status != cudaStreamCaptureStatusNone;
    cudaGetLastError();  // the default stream beside one that is recorded: whoever uses it is told
    return true;
}

}  // namespace rnnkernels::cuda
