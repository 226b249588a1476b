// How many clusters of blocks a card holds at once: plain data, by which a layer's rows are divided (geometry.h). Not
// here: who knows that of a card (occupancy.h).
//
// A block of a resident kernel has a processor for itself, and the processors of a cluster lie within one of the card's
// groups (GPCs). So what a group has left over is lost: 132 processors do not hold 16 clusters of 8 blocks.
#pragma once

#include "../../math/target.h"

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr int kMostCluster = 16;     // blocks
inline constexpr int kPortableCluster = 8;  // any card with clusters has so many; more need its leave

struct ClusterRoom {
    int count[kMostCluster + 1] = {};  // for each number of blocks

    constexpr ClusterRoom() = default;
    // Of processors that are all in one group, with leave for any cluster: room for one at least.
    constexpr ClusterRoom(int processors) {
        for (int blocks = 1; blocks <= kMostCluster && processors > 0; ++blocks)
            count[blocks] = processors > blocks ? processors / blocks : 1;
    }

    // Clusters of so many blocks that run at once; 0: none can be launched.
    constexpr int at_once(int blocks) const { return blocks < 1 || blocks > kMostCluster ? 0 : count[blocks]; }
    // The most blocks of a cluster; 0: the card has no clusters.
    constexpr int largest() const {
        int blocks = kMostCluster;
        while (blocks > 0 && count[blocks] == 0) --blocks;
        return blocks;
    }

    friend constexpr bool operator==(const ClusterRoom&, const ClusterRoom&) = default;
};

// What each of two calls has, so that both are there at once.
constexpr ClusterRoom half_of(ClusterRoom room) {
    for (int& count : room.count) count /= 2;
    return room;
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
