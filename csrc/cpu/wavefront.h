// Layers on layers as a wavefront: each layer some steps behind the layer below it, for layers so small that dividing
// one among threads would cost more in meetings than it saves.
//
//   thread 0   layer 0, steps 0-7 | layer 0, steps 8-15 | layer 0, steps 16-23 | ...
//   thread 1                      | layer 1, steps 0-7  | layer 1, steps 8-15  | ...
//
// A chunk of a layer's steps is claimed as a piece is (claims.h): by the layer's own thread, or by another where that
// one does not come. A layer's bits are those of running it alone: only who computes them when is another.
#pragma once

#include <new>

#include "forward.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// What all threads of a wavefront share.
template <class T>
struct Wavefront {
    using Shared = ForwardShared<T>;
    static_assert(std::is_trivially_destructible_v<Shared>, "it lives in scratch memory");

    const EngineCell<T>& cell;
    const ForwardCall* calls;
    int layers;
    Index chunk;
    Workspace& workspace;
    int threads = 0;
    Shared* shared = nullptr;  // of each layer
    Claims pieces{};           // of each layer; phase 1 is its begin, each further one a chunk of its steps

    void prepare(int count) {
        threads = count;
        shared = workspace.take<Shared>(layers);
        pieces = take_claims(workspace, layers, 1, layers + 1);
        for (int layer = 0; layer < layers; ++layer) {
            new (shared + layer) Shared(cell, calls[layer], workspace);
            shared[layer].plan = {1, 1, 1, 1, chunk, 1};
            shared[layer].prepare();
        }
    }

    void run(Member& member) const {
        for (Wait wait{cpu::kPatience};;) {
            const Piece piece = next(member, wait);
            if (piece.layer == kOver) break;
            if (piece.layer == kNone) {
                cpu::wait_turn(member, wait);
                continue;
            }
            cpu::end_wait(member, wait);
            wait = Wait{cpu::kPatience};
            do_piece(piece);
            __atomic_store_n(&pieces.done[piece.layer].of[0], piece.phase, __ATOMIC_RELEASE);
            if (member.beat) __atomic_store_n(member.beat, ++member.phase, __ATOMIC_RELAXED);
        }
    }

private:
    static constexpr int kOver = -1, kNone = -2;
    struct Piece {
        int layer;
        long long phase;
    };

    Index steps() const { return calls[0].in.shape.steps; }
    long long last_phase() const { return 1 + (steps() + chunk - 1) / chunk; }
    long long done(int layer) const { return __atomic_load_n(&pieces.done[layer].of[0], __ATOMIC_ACQUIRE); }
    int owner(int layer) const {
        int thread = 0;
        while (layers * (thread + 1) / threads <= layer) ++thread;
        return thread;
    }

    // A piece whose turn has come, claimed: of the member's own layers, the highest first, so that those above get on;
    // then of layers whose thread is not there, or has not come.
    Piece next(const Member& member, const Wait& wait) const {
        bool over = true;
        for (int round = 0; round < 2; ++round)
            for (int layer = layers - 1; layer >= 0; --layer) {
                const int thread = owner(layer);
                if ((thread == member.number) != (round == 0)) continue;
                const long long phase = done(layer) + 1;
                if (phase > last_phase()) continue;
                over = false;
                if (round > 0 && wait.turns < wait.patience && cpu::is_there(member, thread)) continue;
                if (layer > 0 && phase > 1 && done(layer - 1) < phase) continue;
                long long before = phase - 1;
                if (__atomic_compare_exchange_n(&pieces.claimed[layer].of[0], &before, phase, false, __ATOMIC_ACQ_REL,
                                                __ATOMIC_RELAXED))
                    return {layer, phase};
            }
        return {over ? kOver : kNone, 0};
    }

    void do_piece(const Piece& piece) const {
        Member alone{0, shared[piece.layer].watch};
        ForwardEngine<T> engine(shared[piece.layer], alone);
        if (piece.phase == 1) return engine.begin();
        const Index first = (piece.phase - 2) * chunk, last = least(first + chunk, steps());
        run_forward_chunk(cell.table.form, engine, first, last, false);
        if (piece.phase == last_phase()) engine.finish();
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
