// The rows of a batch of lengths and resets, in the order that the kernels walk them (recurrence/rows.h): what
// python/rnnkernels/schedule.py makes, for callers who have no Python at hand.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "../recurrence/problem.h"
#include "half_numbers.h"

namespace rnnkernels::binding {

class RaggedLengths {
public:
    // Each row's length, 0 or more; `reverse`: from its last step to its first; `resets` (T, B), or null: before which
    // steps a row begins a sequence of its own.
    RaggedLengths(const std::vector<Index>& lengths, bool reverse, const std::uint8_t* resets)
        : last_(lengths.size(), -1) {
        const auto batch = static_cast<Index>(lengths.size());
        const auto place_of = [&](Index row, Index step) {
            return (reverse ? lengths[static_cast<std::size_t>(row)] - 1 - step : step) * batch + row;
        };
        for (Index row = 0; row < batch; ++row)
            for (Index step = 0; step < lengths[static_cast<std::size_t>(row)]; ++step) {
                const bool cut = resets && resets[place_of(row, step)];
                if (step == 0 || cut) sequences_.push_back({row, step, 0, cut});
                ++sequences_.back().size;
            }
        std::stable_sort(sequences_.begin(), sequences_.end(),
                         [](const Sequence& a, const Sequence& b) { return a.size > b.size; });
        for (std::size_t s = 0; s < sequences_.size(); ++s) {
            const Sequence& one = sequences_[s];
            if (one.begin + one.size == lengths[static_cast<std::size_t>(one.row)])
                last_[static_cast<std::size_t>(one.row)] = static_cast<Index>(s);
        }
        const Index longest = sequences_.empty() ? 0 : sequences_.front().size;
        starts_.assign(1, 0);
        std::size_t running = sequences_.size();
        for (Index t = 0; t < longest; ++t) {
            while (sequences_[running - 1].size <= t) --running;
            for (std::size_t s = 0; s < running; ++s)
                places_.push_back(place_of(sequences_[s].row, sequences_[s].begin + t));
            starts_.push_back(static_cast<Index>(places_.size()));
        }
        places_.reserve(1);  // data() of no rows is not null
    }

    const std::vector<Index>& starts() const { return starts_; }
    const std::vector<Index>& places() const { return places_; }
    Index steps() const { return static_cast<Index>(starts_.size()) - 1; }
    Index sequences() const { return static_cast<Index>(sequences_.size()); }

    // What each sequence (S, bytes) begins with: that of its row in `rows` (B, bytes), behind a reset in `reset`
    // (B, bytes); zeros where that is null.
    void begin(const void* rows, const void* reset, void* sequences, std::size_t bytes) const {
        for (std::size_t s = 0; s < sequences_.size(); ++s)
            copy(sequences_[s].fresh ? reset : rows, sequences_[s].row, static_cast<char*>(sequences) + s * bytes,
                 bytes);
    }

    // What belongs to the ends of the rows (B, bytes), as that of the sequences (S, bytes); zeros for those inside.
    void pack(const void* rows, void* sequences, std::size_t bytes) const {
        std::memset(sequences, 0, sequences_.size() * bytes);
        for (std::size_t row = 0; row < last_.size(); ++row)
            if (last_[row] >= 0)
                copy(rows, static_cast<Index>(row),
                     static_cast<char*>(sequences) + static_cast<std::size_t>(last_[row]) * bytes, bytes);
    }

    // The other way; a row without steps gets what it has in `otherwise` (B, bytes), or zeros where that is null.
    void unpack(const void* sequences, const void* otherwise, void* rows, std::size_t bytes) const {
        for (std::size_t row = 0; row < last_.size(); ++row)
            copy(last_[row] >= 0 ? sequences : otherwise, last_[row] >= 0 ? last_[row] : static_cast<Index>(row),
                 static_cast<char*>(rows) + row * bytes, bytes);
    }

    // Gradients of what the sequences (S, bytes) began with, as those of the rows' states (B, bytes) and of their reset
    // states (B, bytes), either of which may be null. A row without steps has that of its end.
    void begin_gradient(Dtype dtype, const void* sequences, const void* ended, void* rows, void* reset,
                        std::size_t bytes) const {
        for (std::size_t row = 0; row < last_.size(); ++row) {
            const auto at = static_cast<Index>(row);
            if (rows) copy(last_[row] >= 0 ? nullptr : ended, at, static_cast<char*>(rows) + row * bytes, bytes);
            if (reset) std::memset(static_cast<char*>(reset) + row * bytes, 0, bytes);
        }
        if (kHasHalves && is_half(dtype)) {
            add_halves(dtype, sequences, rows, false, bytes / sizeof(std::uint16_t));
            add_halves(dtype, sequences, reset, true, bytes / sizeof(std::uint16_t));
        } else if (dtype == Dtype::float32) {
            add<float>(sequences, rows, reset, bytes / sizeof(float));
        } else {
            add<double>(sequences, rows, reset, bytes / sizeof(double));
        }
    }

private:
    struct Sequence {
        Index row, begin, size;  // `begin`, `size`: in steps of the row, in the order in which they are run
        bool fresh;              // begins with the reset state
    };

    template <typename Real>
    void add(const void* sequences, void* rows, void* reset, std::size_t width) const {
        for (std::size_t s = 0; s < sequences_.size(); ++s) {
            auto* const to = static_cast<Real*>(sequences_[s].fresh ? reset : rows);
            if (!to) continue;
            for (std::size_t unit = 0; unit < width; ++unit)
                to[static_cast<std::size_t>(sequences_[s].row) * width + unit] +=
                    static_cast<const Real*>(sequences)[s * width + unit];
        }
    }

    // Of halves: a row's sum is float32, and rounded once. `fresh`: which of the sequences.
    void add_halves(Dtype dtype, const void* sequences, void* rows, bool fresh, std::size_t width) const {
        if (!rows) return;
        auto* const to = static_cast<std::uint16_t*>(rows);
        std::vector<float> sums(last_.size() * width);  // (B, width)
        for (std::size_t i = 0; i < sums.size(); ++i) sums[i] = number_of_half(dtype, to[i]);
        for (std::size_t s = 0; s < sequences_.size(); ++s) {
            if (sequences_[s].fresh != fresh) continue;
            float* const sum = sums.data() + static_cast<std::size_t>(sequences_[s].row) * width;
            for (std::size_t unit = 0; unit < width; ++unit)
                sum[unit] += number_of_half(dtype, static_cast<const std::uint16_t*>(sequences)[s * width + unit]);
        }
        for (std::size_t i = 0; i < sums.size(); ++i) to[i] = half_of_number(dtype, sums[i]);
    }

    static void copy(const void* from, Index at, void* to, std::size_t bytes) {
        if (from)
            std::memcpy(to, static_cast<const char*>(from) + static_cast<std::size_t>(at) * bytes, bytes);
        else
            std::memset(to, 0, bytes);
    }

    std::vector<Sequence> sequences_;  // (S) longest first
    std::vector<Index> last_;          // (B) the sequence that a row ends with; -1: it has no steps
    std::vector<Index> starts_, places_;
};

}  // namespace rnnkernels::binding
