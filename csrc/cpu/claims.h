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
// Claims are plain memory of the call. Not here: who is in a call, and how they wait (threads.h); what a piece is
// (geometry.h: Part).
#pragma once

#include <cstring>

#include "plan.h"
#include "threads.h"
#include "workspace.h"

namespace rnnkernels::RNNKERNELS_TARGET {

using cpu::Member;
using cpu::Plan;
using cpu::Range;
using cpu::Wait;
using cpu::Workspace;

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

inline Claims take_claims(Workspace& workspace, int homes, int each, int threads) {
    Claims claims{homes, each};
    if (threads == 1) return claims;
    claims.claimed = workspace.take<PiecePhases>(2 * homes);
    claims.done = claims.claimed + homes;
    std::memset(claims.claimed, 0, sizeof(PiecePhases) * 2 * static_cast<std::size_t>(homes));
    return claims;
}

// A thread's way through one phase of the pieces of homes [first, last): `while (walk.next()) work(walk.piece)`.
class PieceWalk {
public:
    // `backwards`: own pieces from the last to the first.
    RNNKERNELS_INLINE PieceWalk(Member& member, const Claims& claims, Range homes, bool backwards)
        : member_(member), claims_(claims), homes_(homes), backwards_(backwards) {
        cpu::look(member.watch);
        ++member.phase;
        if (!claims.claimed) return;
        if (member.beat) __atomic_store_n(member.beat, member.phase, __ATOMIC_RELAXED);
        const bool own = member.number >= homes.first && member.number < homes.last;
        home_ = own ? member.number : homes.first;
        // A piece is claimed for a later phase when this one is over.
        if (__atomic_load_n(&claims.claimed[home_].of[0], __ATOMIC_ACQUIRE) > member.phase) over_ = true;
        if (!own) tried_ = claims.each;
        patience_ = own ? cpu::kPatience : claims.each > 1 ? 0 : cpu::kLongPatience;
    }

    RNNKERNELS_INLINE bool next() {
        if (!claims_.claimed) return ++piece < claims_.homes * claims_.each;
        if (piece >= 0) {
            cpu::stress_point();
            finish(piece);
        }
        while (!over_ && tried_ < claims_.each) {
            const int i = backwards_ ? claims_.each - 1 - tried_ : tried_;
            ++tried_;
            if (claim(home_, i)) {
                cpu::stress_point();
                piece = home_ * claims_.each + i;
                return true;
            }
        }
        return !over_ && take_over();
    }

    int piece = -1;

private:
    bool claim(int home, int i) const {
        long long* const at = &claims_.claimed[home].of[i];
        long long last = __atomic_load_n(at, __ATOMIC_RELAXED);
        return last < member_.phase &&
               __atomic_compare_exchange_n(at, &last, member_.phase, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    }
    bool done(int home, int i) const {
        return __atomic_load_n(&claims_.done[home].of[i], __ATOMIC_ACQUIRE) >= member_.phase;
    }
    void finish(int piece_done) const {
        __atomic_store_n(&claims_.done[piece_done / claims_.each].of[piece_done % claims_.each], member_.phase,
                         __ATOMIC_RELEASE);
    }
    bool take_over();

    Member& member_;
    const Claims& claims_;
    const Range homes_;
    const bool backwards_;
    int home_ = 0;
    int tried_ = 0;  // of its own pieces
    long long patience_ = 0;
    bool over_ = false;
};

// Waits until the phase is over, or a piece can be had that is another's.
inline bool PieceWalk::take_over() {
    Wait wait{patience_};
    for (;;) {
        bool all = true;
        for (Index at = homes_.first; at < homes_.last; ++at) {
            const int home = static_cast<int>(at);
            for (int k = 0; k < claims_.each; ++k) {
                const int i = backwards_ ? k : claims_.each - 1 - k;
                if (done(home, i)) continue;
                all = false;
                if (wait.turns < wait.patience && cpu::is_there(member_, home)) break;
                if (claim(home, i)) {
                    piece = home * claims_.each + i;
                    cpu::end_wait(member_, wait);
                    return true;
                }
            }
        }
        if (all) break;
        cpu::wait_turn(member_, wait);
    }
    cpu::end_wait(member_, wait);
    return false;
}

// The phases of a call as one of its threads goes through them: those of pieces that everybody has a share in, and
// those of the steps, whose row groups need not meet.
class Phases {
public:
    // `steps`: the pieces of the plan's grid; `shares`: everybody's.
    Phases(Member& member, const Plan& plan, const Claims& steps, const Claims& shares)
        : member_(member), plan_(plan), steps_(steps), shares_(shares) {}

    int thread() const { return member_.number; }

    // A phase of all: work(share, shares).
    template <class Work>
    RNNKERNELS_INLINE void everyone(Work work) {
        const int shares = shares_.homes * shares_.each;
        PieceWalk walk(member_, shares_, Range{0, shares_.homes}, false);
        while (walk.next()) work(walk.piece, shares);
    }

    // A phase of the row group at work: work(piece).
    template <class Work>
    RNNKERNELS_INLINE void of_group(bool backwards, Work work) {
        const Index first = group_ * plan_.unit_groups;
        PieceWalk walk(member_, steps_, Range{first, first + plan_.unit_groups}, backwards);
        while (walk.next()) work(walk.piece);
    }

    // The same phases of every row group, where `each`: a thread goes through those of its own group, then helps with
    // the others'. Where not, run() once.
    template <class Run>
    RNNKERNELS_INLINE void each_row_group(bool each, Run run) {
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

}  // namespace rnnkernels::RNNKERNELS_TARGET
