// Layers on layers as a wavefront: each layer on one thread, some steps behind the layer below it, for layers so
// small that dividing one among threads would cost more in meetings than it saves.
//
//   thread 0   layer 0, steps 0-7 | layer 0, steps 8-15 | layer 0, steps 16-23 | ...
//   thread 1                      | layer 1, steps 0-7  | layer 1, steps 8-15  | ...
//
// A layer's bits are those of running it alone: only who computes them when is another.
#pragma once

#include <new>

#include "forward.h"

namespace rnnkernels::RNNKERNELS_TARGET {

using cpu::Progress;

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
    Shared* shared = nullptr;      // of each layer
    Progress* progress = nullptr;  // of each layer: steps whose output stands

    void prepare(int count) {
        threads = count;
        shared = workspace.take<Shared>(layers);
        progress = workspace.take<Progress>(layers);
        for (int layer = 0; layer < layers; ++layer) {
            new (shared + layer) Shared(cell, calls[layer], workspace);
            shared[layer].prepare(Plan{1, 1, 1, chunk, 1});
            progress[layer].reset();
        }
    }

    // One thread's layers, from the lowest: chunk by chunk, each as soon as the layer below has been there.
    void run(int thread) const {
        using Engine = ForwardEngine<T>;
        const int first = layers * thread / threads, last = layers * (thread + 1) / threads;
        const Index steps = calls[0].in.shape.steps;
        for (int layer = first; layer < last; ++layer) Engine(shared[layer], 0).begin();
        for (Index t = 0; t < steps; t += chunk) {
            const Index end = t + chunk < steps ? t + chunk : steps;
            for (int layer = first; layer < last; ++layer) {
                if (layer > 0) progress[layer - 1].wait(end, shared[layer].watch);
                Engine engine(shared[layer], 0);
                run_forward_chunk(cell.table.form, engine, t, end);
                progress[layer].publish(end);
            }
        }
        for (int layer = first; layer < last; ++layer) Engine(shared[layer], 0).finish();
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
