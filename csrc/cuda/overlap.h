// In which order the parts of several calls are put into streams, so that calls that read each other's results run side
// by side: a pure function, tested without a GPU.
//
// Each call has a stream of its own and is cut into pieces of steps. A piece of a layer needs the same piece of the
// layer whose output it reads (in a backward: whose dx), so layer l works on piece c while layer l-1 works on c+1. A
// part stands behind what it waits for, also in the list: an event must be recorded before something waits for it.
#pragma once

#include <vector>

#include "../recurrence/problem.h"

namespace rnnkernels::cuda {

// A call of a group, and whose result it reads.
struct LinkedCall {
    int before;     // the number of an earlier call; -1: nobody's
    bool by_piece;  // a piece needs that piece alone, of as many steps; else all of the call before
    Index steps;
};

// A piece of a call.
struct Part {
    int call;
    Index first, last;  // steps
    int after;          // the part, by its place in the list, that must have ended; -1: none
    bool begins, ends;  // the call
};

// Pieces of a call, at most: each is an event and some launches more.
inline constexpr Index kMostPieces = 64;

// `piece`: steps of one. `down`: from the last step to the first.
std::vector<Part> overlapped(const std::vector<LinkedCall>& calls, Index piece, bool down);

}  // namespace rnnkernels::cuda
