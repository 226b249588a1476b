// A call's zoneout and recurrent dropout in a resident kernel: what recurrence/masks.h has of a unit's step, as plain
// data and as bits that a lane makes before it waits for h. The same words of the same counter, so the same masks.
#pragma once

#include "../../recurrence/masks.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// What a kernel is compiled with; 0: neither.
inline constexpr int kZones = 1, kDrops = 2;
constexpr int masks_of(const Noise& noise) {
    return (noise.zones ? kZones : 0) | (noise.recurrent > 0 && !noise.expected ? kDrops : 0);
}

// A unit's bits of a step: of each state whether it keeps its old value; whether dropout leaves the unit out of what
// this step multiplies, and of what the next one does.
inline constexpr unsigned kDropped = 1U << 30, kDroppedNext = 1U << 31;

struct UnitMasks {
    std::uint64_t seed;
    std::uint32_t layer;
    bool expected, per_step;
    Index first_step, batch;
    const Index* places;                       // (rows): where each row's masks stand; null: each its own
    std::uint32_t zoned[kMaxStates], dropped;  // a word below this says yes
    float rate[kMaxStates], scale;

    // Whether the `states` first states keep their old values, as bits. `row`: among those of all steps.
    RNNKERNELS_INLINE unsigned kept(int states, Index row, Index unit) const {
        if (expected) return 0;
        unsigned bits = 0;
        Words<float> words{};
        RNNKERNELS_UNROLL(8)
        for (int k = 0; k < kMaxStates; ++k) {
            if (k >= states) continue;
            if (k % 4 == 0) {
                Counter c = counter(row, unit, Stream::zoneout);
                c.stream += static_cast<std::uint32_t>(k / 4);
                words = random_words<float>(seed, c);
            }
            if (words.word[k % 4] < zoned[k]) bits |= 1U << k;
        }
        return bits;
    }
    RNNKERNELS_INLINE bool drops(Index row, Index unit) const {
        Counter c = counter(row, unit, per_step ? Stream::recurrent_step : Stream::recurrent_sequence);
        if (!per_step) c.step = 0;
        return random_words<float>(seed, c).word[0] < dropped;
    }
    // The k-th state after a step, of what it was and what the cell made.
    RNNKERNELS_INLINE Vec<float> zone(int k, unsigned bits, Vec<float> old, Vec<float> made) const {
        if (expected) return fma(Vec<float>(rate[k]), old - made, made);
        return bits >> k & 1U ? old : made;
    }
    // Its backward: dL/d(the k-th state after a step) is divided into what goes to the cell, and what goes past it to
    // the state before.
    RNNKERNELS_INLINE void unzone(int k, unsigned bits, Vec<float>& to_cell, Vec<float>& past) const {
        if (expected) {
            past = Vec<float>(rate[k]) * to_cell;
            to_cell = to_cell - past;
            return;
        }
        const bool keeps = bits >> k & 1U;
        past = keeps ? to_cell : Vec<float>(0.0F);
        to_cell = keeps ? Vec<float>(0.0F) : to_cell;
    }
    RNNKERNELS_INLINE float factor(bool is_dropped) const { return is_dropped ? 0.0F : scale; }

    // Of a row and a unit.
    RNNKERNELS_INLINE Counter counter(Index row, Index unit, Stream stream) const {
        const Index place = places ? places[row] : row;
        return {static_cast<std::uint32_t>(unit), static_cast<std::uint32_t>(first_step + place / batch),
                static_cast<std::uint32_t>(place % batch), layer << 8 | static_cast<std::uint32_t>(stream)};
    }
};

// Of a call whose rows stand at `places` where the noise has none of its own.
inline UnitMasks unit_masks(const Noise& noise, const Index* places) {
    const auto limit = [](double rate) { return static_cast<std::uint32_t>(rate * 4294967296.0); };
    UnitMasks masks{};
    masks.seed = noise.seed, masks.layer = noise.layer;
    masks.expected = noise.expected, masks.per_step = noise.per_step;
    masks.first_step = noise.first_step, masks.batch = noise.batch;
    masks.places = noise.places ? noise.places : places;
    for (int k = 0; k < kMaxStates; ++k)
        masks.zoned[k] = limit(noise.zoneout[k]), masks.rate[k] = static_cast<float>(noise.zoneout[k]);
    masks.dropped = limit(noise.recurrent);
    masks.scale = static_cast<float>(1 / (1 - noise.recurrent));
    return masks;
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
