// How kernels run: work that is put into a stream, one piece after the other.
//
// A kernel is a *body*: a small struct with its arrays and an operator() that does the work of one unit of one row
// (each) or, with a Team, of one row (each_row). Compiled by nvcc a body is run by threads of a GPU. Emulated, compiled
// by a C++ compiler, it is run in loops, in a scrambled order, so that what a test sees there does not hang on who
// comes first; that is how everything but speed is tested where there is no GPU.
#pragma once

#include "../math/functions.h"
#include "kernel.h"
#include "products.h"

#if defined(__CUDACC__)
#include <cuda_runtime.h>

#include "check.h"
#elif defined(RNNKERNELS_EMULATED)
#include <cstring>
#include <functional>
#include <vector>
#else
#error "kernels: compile with nvcc, or with -DRNNKERNELS_EMULATED for the host"
#endif

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr int kTeam = 128;  // threads of a team

// The threads that work on a row together. What a thread writes of element i it alone reads again as element i.
class Team {
public:
#if defined(__CUDACC__)
    // use(i) for every i below `count`.
    template <class Use>
    RNNKERNELS_INLINE void each(Index count, Use use) const {
        for (Index i = lane(); i < count; i += kTeam) use(i);
    }
    // The sum of value(i), in every thread: elements kTeam apart in ascending order, then the threads' sums by halves.
    template <class T, class Value>
    RNNKERNELS_INLINE T sum(Index count, Value value) const {
        T part = 0;
        for (Index i = lane(); i < count; i += kTeam) part += value(i);
#if defined(__CUDA_ARCH__)
        __shared__ T of_warp[kTeam / kWarp];
        for (int half = kWarp / 2; half > 0; half /= 2) part += __shfl_xor_sync(0xffffffffU, part, half);
        __syncthreads();  // the last sum has been read
        if (lane() % kWarp == 0) of_warp[lane() / kWarp] = part;
        __syncthreads();
        part = of_warp[0];
        for (int warp = 1; warp < kTeam / kWarp; ++warp) part += of_warp[warp];
#endif
        return part;
    }

private:
    RNNKERNELS_INLINE static int lane() {
#if defined(__CUDA_ARCH__)
        return static_cast<int>(threadIdx.x);
#else
        return 0;
#endif
    }
#else
    template <class Use>
    void each(Index count, Use use) const {
        for (Index i = 0; i < count; ++i) use(i);
    }
    template <class T, class Value>
    T sum(Index count, Value value) const {
        T part[kTeam] = {};
        for (Index i = 0; i < count; ++i) part[i % kTeam] += value(i);
        for (int half = kWarp / 2; half > 0; half /= 2)
            for (int i = 0; i < kTeam; ++i)
                if (i % (2 * half) < half) part[i] = part[i + half] = part[i] + part[i + half];
        T all = part[0];
        for (int warp = 1; warp < kTeam / kWarp; ++warp) all += part[warp * kWarp];
        return all;
    }
#endif
};

#if defined(__CUDACC__)

template <class Body>
__global__ void __launch_bounds__(kBlock, kBlocks)
    run_each(Index rows, Index units, const __grid_constant__ Body body) {
    run_thread(rows, units, body);
}

template <class Body>
__global__ void __launch_bounds__(kTeam, kBlocks) run_each_row(Index rows, const __grid_constant__ Body body) {
#pragma unroll 1
    for (Index row = blockIdx.x; row < rows; row += gridDim.x) body(row, Team{});
}

// The threads for so many units of rows.
struct Places {
    dim3 block, grid;

    Places(Index rows, Index units) {
        const Index wide = units >= kBlock ? kBlock : (units + kWarp - 1) / kWarp * kWarp;
        const Index high = kBlock / wide, down = (rows + high - 1) / high;
        block = dim3(static_cast<unsigned>(wide), static_cast<unsigned>(high));
        grid = dim3(static_cast<unsigned>((units + wide - 1) / wide),
                    static_cast<unsigned>(down < kMostBlocks ? down : kMostBlocks));
    }
};

// body(row, unit) for all of them, in any order.
template <class Body>
void each(const Queue& queue, Index rows, Index units, const Body& body) {
    if (rows <= 0 || units <= 0) return;
    const Places places(rows, units);
    run_each<<<places.grid, places.block, 0, static_cast<cudaStream_t>(queue.stream)>>>(rows, units, body);
    RNNKERNELS_CHECK(cudaGetLastError());
}

// body(row, team) for every row, in any order.
template <class Body>
void each_row(const Queue& queue, Index rows, const Body& body) {
    if (rows <= 0) return;
    const auto blocks = static_cast<unsigned>(rows < kMostBlocks ? rows : kMostBlocks);
    run_each_row<<<blocks, kTeam, 0, static_cast<cudaStream_t>(queue.stream)>>>(rows, body);
    RNNKERNELS_CHECK(cudaGetLastError());
}

inline void clear(const Queue& queue, void* to, Index bytes) {
    if (bytes > 0)
        RNNKERNELS_CHECK(
            cudaMemsetAsync(to, 0, static_cast<std::size_t>(bytes), static_cast<cudaStream_t>(queue.stream)));
}

#else

// Of a stream that is recorded: what was put into it, to be done later (tests/native/emulated_device.cpp).
using Recording = std::vector<std::function<void()>>;

// Does the work; into a stream that is recorded, puts it. There are no other streams.
template <class Work>
void put(const Queue& queue, const Work& work) {
    if (queue.stream)
        static_cast<Recording*>(queue.stream)->emplace_back(work);
    else
        work();
}

// Every index below `count` once, far from its neighbours.
template <class Use>
void scrambled(Index count, Use use) {
    Index stride = 7919;  // a prime: it reaches every index unless it divides their number
    if (count % stride == 0) stride = 7907;
    for (Index i = 0, at = count / 2; i < count; ++i, at = (at + stride) % count) use(at);
}

template <class Body>
void each(const Queue& queue, Index rows, Index units, const Body& body) {
    if (rows <= 0 || units <= 0) return;
    put(queue, [=] { scrambled(rows * units, [&](Index at) { body(at / units, at % units); }); });
}

template <class Body>
void each_row(const Queue& queue, Index rows, const Body& body) {
    if (rows <= 0) return;
    put(queue, [=] { scrambled(rows, [&](Index row) { body(row, Team{}); }); });
}

inline void clear(const Queue& queue, void* to, Index bytes) {
    if (bytes > 0) put(queue, [=] { std::memset(to, 0, static_cast<std::size_t>(bytes)); });
}

#endif

}  // namespace rnnkernels::RNNKERNELS_TARGET
