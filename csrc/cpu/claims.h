// Work that the threads of a call claim.
//
// A call is a row of phases. A phase is cut into pieces, each done once, by whoever claims it first; it is over when
// all of its pieces are done, and a thread enters the next one when it is over. Every thread goes through all phases of
// the call in the same order: one that comes late finds those behind the others over, at two instructions each.
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
struct Claims {
    int homes = 1;
    int each = 1;
    PiecePhases* claimed =
        nullptr;                  // (homes): the last phase that each piece was claimed in; null: there is one thread
    PiecePhases* done = nullptr;  // (homes): the last phase that each piece is done in
};

Claims take_claims(Workspace& workspace, int homes, int each, int threads);

// A thread's way through one phase of the pieces of homes [first, last): `while (walk.next()) work(walk.piece)`.
class PieceWalk {
public:
    // `backwards`: own pieces from the last to the first.
    __attribute__((always_inline)) PieceWalk(Member& member, const Claims& claims, Range homes, bool backwards)
        : member_(member), claims_(claims), homes_(homes), backwards_(backwards) {
        look(member.watch);
        ++member.phase;
        if (claims.claimed) enter();
    }

    __attribute__((always_inline)) bool next() {
        if (!claims_.claimed) return ++piece < claims_.homes * claims_.each;
        return next_claimed();
    }

    int piece = -1;

private:
    void enter();
    bool next_claimed();
    bool take_over();
    bool claim(int home, int i) const;
    bool done(int home, int i) const;
    void finish(int piece_done) const;

    Member& member_;
    const Claims& claims_;
    const Range homes_;
    const bool backwards_;
    int home_ = 0;
    int tried_ = 0;  // of its own pieces
    long long patience_ = 0;
    bool over_ = false;
};

// The phases of a call as one of its threads goes through them: those of pieces that everybody has a share in, and
// those of the steps, whose row groups need not meet.
class Phases {
public:
    // `steps`: the pieces of the plan's grid; `shares`: everybody's.
    __attribute__((always_inline)) Phases(Member& member, const Plan& plan, const Claims& steps, const Claims& shares)
        : member_(member), plan_(plan), steps_(steps), shares_(shares) {}

    // A phase of all: work(share, shares).
    template <class Work>
    __attribute__((always_inline)) void everyone(Work work) {
        const int shares = shares_.homes * shares_.each;
        PieceWalk walk(member_, shares_, Range{0, shares_.homes}, false);
        while (walk.next()) work(walk.piece, shares);
    }

    // A phase of the row group at work: work(piece).
    template <class Work>
    __attribute__((always_inline)) void of_group(bool backwards, Work work) {
        const Index first = group_ * plan_.unit_groups;
        PieceWalk walk(member_, steps_, Range{first, first + plan_.unit_groups}, backwards);
        while (walk.next()) work(walk.piece);
    }

    // The same phases of every row group, where `each`: a thread goes through those of its own group, then helps with
    // the others'. Where not, run() once.
    template <class Run>
    __attribute__((always_inline)) void each_row_group(bool each, Run run) {
        const int groups = each ? plan_.row_groups : 1, own = each ? member_.number / plan_.unit_groups : 0;
        const long long begin = member_.phase;
        for (int i = 0; i < groups; ++i) {
            member_.phase = begin;
            if (each) group_ = (own + i) % groups;
            run();
        }
    }

private:
    Member& member_;
    const Plan& plan_;
    const Claims& steps_;
    const Claims& shares_;
    int group_ = 0;
};

}  // namespace rnnkernels::cpu
