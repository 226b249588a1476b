// The rows of a batch of lengths, in the order that the kernels walk them (recurrence/rows.h): what
// python/rnnkernels/schedule.py makes for a batch without resets, for callers who have no Python at hand.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <numeric>
#include <vector>

#include "../recurrence/problem.h"

namespace rnnkernels::binding {

class RaggedLengths {
public:
    // Each row's length, 0 or more; `reverse`: from its last step to its first.
    RaggedLengths(const std::vector<Index>& lengths, bool reverse) : last_(lengths.size(), -1) {
        const auto batch = static_cast<Index>(lengths.size());
        const auto length = [&](Index row) { return lengths[static_cast<std::size_t>(row)]; };
        owner_.resize(lengths.size());
        std::iota(owner_.begin(), owner_.end(), Index{0});
        std::stable_sort(owner_.begin(), owner_.end(), [&](Index a, Index b) { return length(a) > length(b); });
        while (!owner_.empty() && length(owner_.back()) == 0) owner_.pop_back();
        for (std::size_t s = 0; s < owner_.size(); ++s)
            last_[static_cast<std::size_t>(owner_[s])] = static_cast<Index>(s);
        const Index longest = owner_.empty() ? 0 : length(owner_.front());
        starts_.assign(1, 0);
        Index running = sequences();
        for (Index t = 0; t < longest; ++t) {
            while (length(owner_[static_cast<std::size_t>(running - 1)]) <= t) --running;
            for (Index s = 0; s < running; ++s) {
                const Index row = owner_[static_cast<std::size_t>(s)];
                places_.push_back((reverse ? length(row) - 1 - t : t) * batch + row);
            }
            starts_.push_back(static_cast<Index>(places_.size()));
        }
        places_.reserve(1);  // data() of no rows is not null
    }

    const std::vector<Index>& starts() const { return starts_; }
    const std::vector<Index>& places() const { return places_; }
    Index steps() const { return static_cast<Index>(starts_.size()) - 1; }
    Index sequences() const { return static_cast<Index>(owner_.size()); }

    // What belongs to the rows (B, bytes), as that of the sequences (S, bytes).
    void pack(const void* rows, void* sequences, std::size_t bytes) const {
        for (std::size_t s = 0; s < owner_.size(); ++s)
            std::memcpy(static_cast<char*>(sequences) + s * bytes,
                        static_cast<const char*>(rows) + static_cast<std::size_t>(owner_[s]) * bytes, bytes);
    }

    // The other way; a row without steps gets what it has in `otherwise` (B, bytes), or zeros where that is null.
    void unpack(const void* sequences, const void* otherwise, void* rows, std::size_t bytes) const {
        for (std::size_t row = 0; row < last_.size(); ++row) {
            char* to = static_cast<char*>(rows) + row * bytes;
            if (last_[row] >= 0) {
                std::memcpy(to, static_cast<const char*>(sequences) + static_cast<std::size_t>(last_[row]) * bytes,
                            bytes);
            } else if (otherwise) {
                std::memcpy(to, static_cast<const char*>(otherwise) + row * bytes, bytes);
            } else {
                std::memset(to, 0, bytes);
            }
        }
    }

private:
    std::vector<Index> owner_;  // (S) the row that a sequence belongs to, longest first
    std::vector<Index> last_;   // (B) a row's sequence; -1: it has no steps
    std::vector<Index> starts_, places_;
};

}  // namespace rnnkernels::binding
