// Both directions of a layer in one resident kernel: the grid holds the clusters of the one, then those of the other.
// Nothing goes between them; they may have other numbers of rows and steps, and have one shape.
#pragma once

#include "backward_maths.h"
#include "maths.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// One kernel's argument.
struct ResidentPair {
    ResidentCall call[2];
    int clusters;    // of the first; the others are the second's
    bool has_first;  // on the host: the second is still to come
};
// Likewise of a backward.
struct ResidentBackwardPair {
    ResidentBackwardCall call[2];
    int clusters;
    bool has_first;
};

// What a cluster of the grid works on: whose rows, and which of them.
struct PairPlace {
    int call;
    int tile;
};
RNNKERNELS_DEVICE constexpr PairPlace pair_place(int cluster, int clusters_of_first) {
    if (cluster < clusters_of_first) return {0, cluster};
    return {1, cluster - clusters_of_first};
}

// Of a card's processors, so that two calls have room at once.
constexpr int half_of(int processors) { return processors > 1 ? processors / 2 : 1; }

// Clusters for so many rows of the batch.
RNNKERNELS_DEVICE constexpr int clusters_of(const Resident& shape, Index batch) {
    const Index rows = shape.cluster_rows();
    return static_cast<int>((batch + rows - 1) / rows);
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
