// Both directions of a layer in one resident kernel: the grid holds the clusters of the one, then those of the other.
// Nothing goes between them; they may have other numbers of rows and steps, and have one shape. On the host the first
// brings its call of a launch, and the second puts both.
#pragma once

#include "backward_maths.h"
#include "maths.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Clusters for so many rows of the batch.
RNNKERNELS_DEVICE constexpr int clusters_of(const Resident& shape, Index batch) {
    const Index rows = shape.cluster_rows();
    return static_cast<int>((batch + rows - 1) / rows);
}

// One kernel's argument.
template <class Call>
struct PairOf {
    Call call[2];
    int clusters;    // of the first; the others are the second's
    bool waits;      // on the host: the second has steps for a launch, too
    bool has_first;  // on the host: the first's are there

    // Whether the first's steps are kept until the second brings its own; else they are launched by themselves.
    constexpr bool keeps(const Call& brought) {
        if (!waits || has_first) return false;
        call[0] = brought, has_first = true;
        return true;
    }
    // The argument of the launch that this call is the last of.
    constexpr PairOf with(const Resident& shape, const Call& brought) {
        PairOf both = *this;
        both.call[1] = brought;
        both.clusters = has_first ? clusters_of(shape, call[0].batch) : 0;
        has_first = false;
        return both;
    }
};
using ResidentPair = PairOf<ResidentCall>;
using ResidentBackwardPair = PairOf<ResidentBackwardCall>;

// What a cluster of the grid works on: whose rows, and which of them.
struct PairPlace {
    int call;
    int tile;
};
RNNKERNELS_DEVICE constexpr PairPlace pair_place(int cluster, int clusters_of_first) {
    if (cluster < clusters_of_first) return {0, cluster};
    return {1, cluster - clusters_of_first};
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
