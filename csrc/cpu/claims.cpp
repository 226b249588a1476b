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

int PieceWalk::begin(const Claims& claims, Range homes, bool backwards) {
    ++member_.phase;
    if (member_.beat) __atomic_store_n(member_.beat, member_.phase, __ATOMIC_RELAXED);
    claims_ = &claims, homes_ = homes, backwards_ = backwards;
    const bool own = member_.number >= homes.first && member_.number < homes.last;
    home_ = own ? member_.number : static_cast<int>(homes.first);
    // A piece is claimed for a later phase when this one is over.
    if (__atomic_load_n(&claims.claimed[home_].of[0], __ATOMIC_ACQUIRE) > member_.phase) return -1;
    tried_ = own ? 0 : claims.each;
    patience_ = own ? kPatience : claims.each > 1 ? 0 : kLongPatience;
    return piece_ = claim_own();
}

int PieceWalk::next() {
    stress_point();
    __atomic_store_n(&claims_->done[piece_ / claims_->each].of[piece_ % claims_->each], member_.phase,
                     __ATOMIC_RELEASE);
    return piece_ = claim_own();
}

int PieceWalk::claim_own() {
    while (tried_ < claims_->each) {
        const int i = backwards_ ? claims_->each - 1 - tried_ : tried_;
        ++tried_;
        if (claim(home_, i)) {
            stress_piece(member_.watch);
            return home_ * claims_->each + i;
        }
    }
    return take_over();
}

// Waits until the phase is over, or a piece can be had that is another's.
int PieceWalk::take_over() {
    Wait wait{patience_};
    int taken = -1;
    for (bool all = false; !all && taken < 0;) {
        all = true;
        for (Index at = homes_.first; at < homes_.last && taken < 0; ++at) {
            const int home = static_cast<int>(at);
            const bool leave_it = wait.turns < wait.patience && is_there(member_, home);
            for (int k = 0; k < claims_->each && taken < 0; ++k) {
                const int i = backwards_ ? k : claims_->each - 1 - k;
                if (done(home, i)) continue;
                all = false;
                if (leave_it) break;
                if (claim(home, i)) taken = home * claims_->each + i;
            }
        }
        if (!all && taken < 0) wait_turn(member_, wait);
    }
    end_wait(member_, wait);
    return taken;
}

bool PieceWalk::claim(int home, int i) const {
    long long* const at = &claims_->claimed[home].of[i];
    long long last = __atomic_load_n(at, __ATOMIC_RELAXED);
    return last < member_.phase &&
           __atomic_compare_exchange_n(at, &last, member_.phase, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

bool PieceWalk::done(int home, int i) const {
    return __atomic_load_n(&claims_->done[home].of[i], __ATOMIC_ACQUIRE) >= member_.phase;
}

}  // namespace rnnkernels::cpu
