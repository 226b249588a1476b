// A thread's way through a phase of claims.h. Compiled once, for the baseline instruction set.
#include "claims.h"

#include <cstring>

namespace rnnkernels::cpu {

Claims take_claims(Workspace& workspace, int homes, int each, int threads) {
    Claims claims{homes, each};
    if (threads == 1) return claims;
    claims.claimed = workspace.take<PiecePhases>(2 * homes);
    claims.done = claims.claimed + homes;
    std::memset(claims.claimed, 0, sizeof(PiecePhases) * 2 * static_cast<std::size_t>(homes));
    return claims;
}

bool PieceWalk::claim(int home, int i) const {
    long long* const at = &claims_.claimed[home].of[i];
    long long last = __atomic_load_n(at, __ATOMIC_RELAXED);
    return last < member_.phase &&
           __atomic_compare_exchange_n(at, &last, member_.phase, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

bool PieceWalk::done(int home, int i) const {
    return __atomic_load_n(&claims_.done[home].of[i], __ATOMIC_ACQUIRE) >= member_.phase;
}

void PieceWalk::finish(int piece_done) const {
    __atomic_store_n(&claims_.done[piece_done / claims_.each].of[piece_done % claims_.each], member_.phase,
                     __ATOMIC_RELEASE);
}

void PieceWalk::enter() {
    if (member_.beat) __atomic_store_n(member_.beat, member_.phase, __ATOMIC_RELAXED);
    const bool own = member_.number >= homes_.first && member_.number < homes_.last;
    home_ = own ? member_.number : static_cast<int>(homes_.first);
    if (!own) tried_ = claims_.each;
    patience_ = own ? kPatience : claims_.each > 1 ? 0 : kLongPatience;
    // A piece is claimed for a later phase when this one is over.
    over_ = __atomic_load_n(&claims_.claimed[home_].of[0], __ATOMIC_ACQUIRE) > member_.phase;
}

bool PieceWalk::next_claimed() {
    if (piece >= 0) {
        stress_point();
        finish(piece);
    }
    while (!over_ && tried_ < claims_.each) {
        const int i = backwards_ ? claims_.each - 1 - tried_ : tried_;
        ++tried_;
        if (claim(home_, i)) {
            stress_point();
            piece = home_ * claims_.each + i;
            return true;
        }
    }
    return !over_ && take_over();
}

// Waits until the phase is over, or a piece can be had that is another's.
bool PieceWalk::take_over() {
    Wait wait{patience_};
    for (;;) {
        bool all = true;
        for (Index at = homes_.first; at < homes_.last; ++at) {
            const int home = static_cast<int>(at);
            for (int k = 0; k < claims_.each; ++k) {
                const int i = backwards_ ? k : claims_.each - 1 - k;
                if (done(home, i)) continue;
                all = false;
                if (wait.turns < wait.patience && is_there(member_, home)) break;
                if (claim(home, i)) {
                    piece = home * claims_.each + i;
                    end_wait(member_, wait);
                    return true;
                }
            }
        }
        if (all) break;
        wait_turn(member_, wait);
    }
    end_wait(member_, wait);
    return false;
}

}  // namespace rnnkernels::cpu
