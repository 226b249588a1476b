// Work that the threads of a call claim.
//
// A call is a row of phases. A phase is cut into pieces, each done once, by whoever claims it first; it is over when
// all of its pieces are done, and a thread enters the next one when it is over. Every thread goes through all phases of
// the call in the same order: one that comes late finds those behind the others over, at a look each.
//
// A piece has a home, the thread that does it when all are there: the piece's weights lie in that core's cache. A
// thread does its own pieces first. Then it waits a little for the others', and takes over, from the end, what nobody
// has begun; what belongs to a thread that is not there it takes at once (threads.h: is_there).
//
// Claims are plain memory of the call. What is inline here is always inlined: this header is also compiled per
// instruction set. Not here: who is in a call, and how they wait (threads.h); what a piece is
// (geometry.h: Part).
#pragma once

#include "plan.h"
#include "threads.h"
#include "workspace.h"

namespace rnnkernels::cpu {

// Pieces of a home at most: their phases fill a cache line.
inline constexpr int kMostEach = 8;

struct alignas(64) PiecePhases {
    long long of[kMostEach];
};

// The pieces of `homes` threads, `each` for each; piece s is number s % each of home s / each.
// The last phase in which each piece was claimed, and is done; null where there is one thread.
struct Claims {
    int homes = 1;
    int each = 1;
    PiecePhases* claimed = nullptr;  // (homes)
    PiecePhases* done = nullptr;     // (homes)
};

Claims take_claims(Workspace& workspace, int homes, int each, int threads);

// A thread's way through one phase of the pieces of homes [first, last).
class PieceWalk {
public:
    explicit PieceWalk(Member& member) : member_(member) {}

    // Its first piece; -1: the phase is over. `backwards`: own pieces from the last to the first.
    int begin(const Claims& claims, Range homes, bool backwards);
    // The last one is done: the next, or -1.
    int next();

private:
    int claim_own();
    int take_over();
    bool claim(int home, int i) const;
    bool done(int home, int i) const;

    Member& member_;
    const Claims* claims_ = nullptr;
    Range homes_{};
    bool backwards_ = false;
    int home_ = 0;
    int tried_ = 0;  // of its own pieces
    int piece_ = -1;
    long long patience_ = 0;
};

// The phases of a call as one of its threads goes through them: those of pieces that everybody has a share in, and
// those of the steps, whose row groups need not meet. A call of one thread notices little of it.
class Phases {
public:
    // `steps`: the pieces of the plan's grid; `shares`: everybody's.
    __attribute__((always_inline)) Phases(Member& member, const Plan& plan, const Claims& steps, const Claims& shares)
        : member_(member),
          plan_(plan),
          steps_(steps),
          shares_(shares),
          walk_(member),
          alone_(shares.claimed == nullptr) {}

    // A phase of all: work(share, shares).
    template <class Work>
    __attribute__((always_inline)) void everyone(Work work) {
        const int shares = shares_.homes * shares_.each;
        for (int i = begin(shares_, Range{0, shares_.homes}, false); i >= 0; i = next()) work(i, shares);
    }

    // A phase of the row group at work: work(piece).
    template <class Work>
    __attribute__((always_inline)) void of_group(bool backwards, Work work) {
        const Index first = group_ * plan_.unit_groups;
        for (int i = begin(steps_, Range{first, first + plan_.unit_groups}, backwards); i >= 0; i = next()) work(i);
    }

    // The same phases of every row group, where `each`: a thread goes through those of its own group, then helps with
    // the others'. Where not, run() once.
    template <class Run>
    __attribute__((always_inline)) void each_row_group(bool each, Run run) {
        const bool apart = each && !alone_;
        const int groups = apart ? plan_.row_groups : 1, own = apart ? member_.number / plan_.unit_groups : 0;
        const long long phase = member_.phase;
        for (int i = 0; i < groups; ++i) {
            member_.phase = phase;
            if (apart) group_ = (own + i) % groups;
            run();
        }
    }

private:
    __attribute__((always_inline)) int begin(const Claims& claims, Range homes, bool backwards) {
        look(member_.watch);
        return alone_ ? 0 : walk_.begin(claims, homes, backwards);
    }
    __attribute__((always_inline)) int next() { return alone_ ? -1 : walk_.next(); }

    Member& member_;
    const Plan& plan_;
    const Claims& steps_;
    const Claims& shares_;
    PieceWalk walk_;
    const bool alone_;
    int group_ = 0;
};

}  // namespace rnnkernels::cpu
