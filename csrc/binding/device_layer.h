// A layer's weights on a GPU, and sequences through it. Everything here serves inference, and waits for no GPU.
//
// A layer holds its weights as they are: the kernels read rows of them, and pack nothing. The copy is the caller's
// (python/rnnkernels/cuda/prepared.py). Not here: single steps (device_steps.h).
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "../device_table.h"
#include "prepared_checks.h"
#include "released.h"

namespace rnnkernels::binding {

// One thread at a time. Waits without the GIL: who holds it may want that for its own work.
class Turn {
public:
    explicit Turn(std::mutex& guard) : guard_(guard) {
        const Released released;
        guard_.lock();
    }
    ~Turn() { guard_.unlock(); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

private:
    std::mutex& guard_;
};

// Memory of a place that grows where a call wants more. True where it is other memory than before.
inline bool grow(Reserve& memory, const Place& place, Index bytes) {
    if (static_cast<Index>(memory.bytes()) >= bytes) return false;
    memory.take(place, 0, bytes);
    return true;
}

// Never changed once made, but for its scratch memory.
class DeviceLayer {
public:
    DeviceLayer(const Place& place, const std::string& cell, const Layer& layer, bool tokens, const Settings& settings)
        : problem_(read_parameters(place, cell, layer)), layer_(layer), tokens_(tokens) {
        read_settings(problem_, settings);
        if (tokens) check_takes_tokens(problem_);
    }

    bool tokens() const { return tokens_; }
    // With the weights in it, and nothing a call is given.
    const Problem& problem() const { return problem_; }
    Problem problem_at(const Place& place) const {
        if (place.device() != problem_.place.device())
            throw py::value_error("x: expected an array on device " + std::to_string(problem_.place.device()) +
                                  ", as the parameters, got one on device " + std::to_string(place.device()));
        Problem p = problem_;
        p.place = place;
        p.in.where = place.where();
        return p;
    }

    Index bytes() const {
        Index sum = layer_.weight_ih.nbytes() + layer_.weight_hh.nbytes();
        for (const OptionalArray* part :
             {&layer_.bias_ih, &layer_.bias_hh, &layer_.weight_gg, &layer_.weight_diagonal, &layer_.weight_hr})
            if (*part) sum += (*part)->nbytes();
        return sum;
    }

    py::tuple forward(const Place& place, const View& x, const OptionalState& state, const Schedule& schedule,
                      const OptionalArray& term, const OptionalNoise& noise) {
        check_kind(x, tokens_);
        Problem p = problem_at(place);
        read_given(p, x, state, schedule, term, noise, {});  // the settings are the layer's
        ForwardCall call{};
        call.in = p.in;
        View output = fresh_sequence(p, p.width(0));
        call.output = output.mutable_data();
        const py::tuple final_state = fresh_states(p, call.final_state);
        run(place, p, call);
        return py::make_tuple(output, final_state);
    }

private:
    static constexpr std::size_t kMostStreams = 16;

    // Puts the call into its stream. Two calls in one stream use the same scratch memory, one after the other, and none
    // may be put there in the midst of another: one thread at a time. In a stream that is recorded the memory is
    // the recording's own, since a replay may run beside later calls.
    void run(const Place& place, const Problem& p, ForwardCall& call) {
        const int set = backend().current_set();
        const Index bytes = backend().forward_bytes(set, p.cell, p.dtype, call);
        const Turn turn(guard_);
        Reserve own;
        Reserve* scratch = &own;
        if (!cuda::is_recorded_stream(place.device(), call.in.where.stream)) {
            const auto key = reinterpret_cast<std::uintptr_t>(call.in.where.stream);
            if (scratch_.size() >= kMostStreams && scratch_.count(key) == 0) scratch_.clear();
            scratch = &scratch_[key];
        }
        grow(*scratch, place, bytes);
        call.in.where.workspace = scratch->data();
        call.in.where.workspace_bytes = static_cast<Index>(scratch->bytes());
        const Released released;
        backend().forward(set, p.cell, p.dtype, call);
    }

    Problem problem_;
    Layer layer_;  // whose memory the problem points to
    bool tokens_;
    std::mutex guard_;
    std::map<std::uintptr_t, Reserve> scratch_;  // of each stream
};

}  // namespace rnnkernels::binding
