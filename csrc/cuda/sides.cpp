// Sides of a GPU.
#include "sides.h"

#include <map>
#include <mutex>
#include <vector>

#include "check.h"

namespace rnnkernels::cuda {
namespace {

// Those that nobody holds, of a device. They live as long as the process.
struct Idle {
    std::vector<cudaStream_t> streams;
    std::vector<cudaEvent_t> events;
};
std::mutex guard;
Idle& idle(int device) {
    static auto* all = new std::map<int, Idle>;
    return (*all)[device];
}

template <class T>
bool take(std::vector<T>& from, T& to) {
    if (from.empty()) return false;
    to = from.back();
    from.pop_back();
    return true;
}

}  // namespace

struct Sides::Held {
    int device = 0;
    std::vector<cudaStream_t> streams;
    std::vector<cudaEvent_t> events;

    ~Held() {
        const std::lock_guard<std::mutex> lock(guard);
        Idle& to = idle(device);
        to.streams.insert(to.streams.end(), streams.begin(), streams.end());
        to.events.insert(to.events.end(), events.begin(), events.end());
    }
};

Sides::Sides(int streams, int events) : held_(std::make_unique<Held>()) {
    RNNKERNELS_CHECK(cudaGetDevice(&held_->device));
    const std::lock_guard<std::mutex> lock(guard);
    Idle& from = idle(held_->device);
    held_->streams.reserve(static_cast<std::size_t>(streams));
    held_->events.reserve(static_cast<std::size_t>(events));
    for (int i = 0; i < streams; ++i) {
        cudaStream_t stream = nullptr;
        if (!take(from.streams, stream)) RNNKERNELS_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
        held_->streams.push_back(stream);
    }
    for (int i = 0; i < events; ++i) {
        cudaEvent_t event = nullptr;
        if (!take(from.events, event)) RNNKERNELS_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
        held_->events.push_back(event);
    }
}

Sides::~Sides() = default;

void* Sides::stream(int side) const { return held_->streams[static_cast<std::size_t>(side)]; }

void Sides::record(int event, void* stream) {
    RNNKERNELS_CHECK(
        cudaEventRecord(held_->events[static_cast<std::size_t>(event)], static_cast<cudaStream_t>(stream)));
}

void Sides::wait(void* stream, int event) {
    RNNKERNELS_CHECK(
        cudaStreamWaitEvent(static_cast<cudaStream_t>(stream), held_->events[static_cast<std::size_t>(event)], 0));
}

}  // namespace rnnkernels::cuda
