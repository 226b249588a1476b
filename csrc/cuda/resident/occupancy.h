// How many clusters a card holds at once: of a card that is here CUDA says it (occupancy.cu), of another a model does.
// Where there is no GPU the emulated device is asked (tests/native/emulated_device.cpp).
#pragma once

#include "clusters.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Asked of each device until it has answered, since that takes milliseconds. Throws nothing but what makes the device
// current.
ClusterRoom asked_room(int device, int capability, int processors);

// Processors of a group of the whole chip, by capability: those of GH100 and GB202 by NVIDIA's papers on the chips, of
// 10.x an estimate.
constexpr int group_processors(int capability) { return capability / 10 == 9 ? 18 : capability / 10 == 10 ? 20 : 16; }

// Of a card that is not here: the largest cluster that NVIDIA's tuning guides state (16 blocks for capability 9.0 and
// 10.x, else 8), in as few groups as there can be, all alike but for a pair of processors. Cards have other groups than
// this: which processors are switched off differs among cards of one name. Those of an H100 or H200 with 132 are stated
// nowhere; these have room for 15 clusters of 8, as has been seen on such cards, and for 7 of 16.
constexpr ClusterRoom modelled_room(int capability, int processors) {
    constexpr int h100[] = {18, 18, 18, 16, 16, 16, 16, 14};
    ClusterRoom room;
    if (capability < 90 || processors < 1) return room;
    const bool is_h100 = capability == 90 && processors == 132;
    const int whole = group_processors(capability), groups = is_h100 ? 8 : (processors + whole - 1) / whole;
    const int most = capability / 10 <= 10 ? kMostCluster : kPortableCluster, pairs = processors / 2;
    for (int group = 0; group < groups; ++group) {
        // An odd processor is the last group's.
        const int even = 2 * (pairs / groups + (group < pairs % groups ? 1 : 0));
        const int size = is_h100 ? h100[group] : even + (group + 1 == groups ? processors % 2 : 0);
        for (int blocks = 1; blocks <= most; ++blocks) room.count[blocks] += size / blocks;
    }
    return room;
}

inline constexpr int kUnsaid = -1;

// Of what a card said of each number of blocks, or did not say: then it is the model's, and no cluster of more blocks
// than any card has.
constexpr ClusterRoom room_of(const int (&said)[kMostCluster + 1], const ClusterRoom& model) {
    ClusterRoom room;
    for (int blocks = 1; blocks <= kMostCluster; ++blocks) {
        room.count[blocks] = said[blocks];
        if (said[blocks] == kUnsaid) room.count[blocks] = blocks <= kPortableCluster ? model.count[blocks] : 0;
    }
    return room;
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
