// Calls that are gathered, to be put together (device_table.h: put_together): their results are allocated and returned
// at once, and filled when the group is put. Until then nothing may be put into the stream that reads one of them.
// Everything that a call reads lives as long: memory that went back to an allocator would be given to another call.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "../device_table.h"
#include "released.h"

namespace rnnkernels::binding {

class Gathered {
public:
    template <class Call, class... Kept>
    void add(int set, int cell, Dtype dtype, const Call& call, Kept&&... kept) {
        // Where an attending recurrence's arrays are described is the caller's frame.
        if (call.in.attention) throw py::value_error("gathered: expected calls that do not attend, got one that does");
        cuda::GatheredCall found{set, cell, dtype, std::is_same_v<Call, BackwardCall>, {}, {}};
        if constexpr (std::is_same_v<Call, BackwardCall>)
            found.backward = call;
        else
            found.forward = call;
        kept_.push_back(std::make_shared<std::tuple<std::decay_t<Kept>...>>(std::forward<Kept>(kept)...));
        calls_.push_back(found);
    }
    // All of them, none where one cannot be.
    void put(Index piece) {
        if (piece < 1) throw py::value_error("steps: expected 1 or more, got " + std::to_string(piece));
        const std::vector<cuda::GatheredCall> calls = std::move(calls_);
        const std::vector<std::shared_ptr<void>> kept = std::move(kept_);
        calls_.clear(), kept_.clear();
        const Released released;
        cuda::put_together(calls.data(), static_cast<int>(calls.size()), piece);
    }
    int count() const { return static_cast<int>(calls_.size()); }

private:
    std::vector<cuda::GatheredCall> calls_;
    std::vector<std::shared_ptr<void>> kept_;
};

}  // namespace rnnkernels::binding
