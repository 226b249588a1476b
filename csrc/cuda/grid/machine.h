// What a warp of a grid kernel can do (warp.h) on a GPU of capability 7.5 and up: mma.sync, a barrier of its block, and
// flags in global memory, released and acquired. What blocks exchange goes through the L2 cache alone.
//
// Compiled with RNNKERNELS_BOUNDED_WAITS a wait that takes too long traps instead of hanging: a debugging build's.
#pragma once

#include "../resident/machine.h"
#include "product.h"

namespace rnnkernels::RNNKERNELS_TARGET {

#if defined(__CUDACC__)

template <Grid given>
struct GridMachine {
    template <class V>
    using Own = OwnValue<V>;
    template <int count>
    using Values = OwnValues<count>;
    static constexpr int kHeld = given.held(), kTiles = given.warp_tiles, kGroups = given.groups;
    static constexpr int kValues = given.values();
    RNNKERNELS_INLINE static constexpr Grid shape() { return given; }

    const GridExchange& exchange;
    uint4* weights;  // in shared memory
    float* sums;
    int block, warp, lane;

    // Of this thread. Where in shared memory, in words, its weights begin, and the sums.
    __device__ __forceinline__ static GridMachine here(const GridExchange& exchange, int kept_begin = 0,
                                                       int sums_begin = given.sums_begin()) {
        extern __shared__ __align__(16) unsigned char memory[];
        return {exchange,
                reinterpret_cast<uint4*>(memory + 4 * kept_begin),
                reinterpret_cast<float*>(memory) + sums_begin,
                static_cast<int>(blockIdx.x % given.blocks),
                static_cast<int>(threadIdx.x / 32),
                static_cast<int>(threadIdx.x % 32)};
    }

    template <class Use>
    __device__ __forceinline__ void lanes(Use use) const {
        use(lane);
    }
    __device__ __forceinline__ void barrier() const { asm volatile("bar.sync 0;" ::: "memory"); }
    __device__ __forceinline__ void wait(Index tile, unsigned value) const {
        for (int i = lane; i < awaited(given, warp); i += 32) {
            const unsigned* const flag = exchange.flags + tile * given.blocks + awaited_block(given, block, warp, i);
            unsigned now;
#if defined(RNNKERNELS_BOUNDED_WAITS)
            int left = 1 << 24;
#endif
            do {
                asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(flag) : "memory");
#if defined(RNNKERNELS_BOUNDED_WAITS)
                if (--left == 0) __trap();
#endif
            } while (now < value);
        }
        __syncwarp();  // what one lane has acquired all may read
    }
    __device__ __forceinline__ void publish(Index tile) const {
        __syncwarp();
        if (lane == 0)
            asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(exchange.flags + tile * given.blocks + block)
                         : "memory");
    }
    __device__ __forceinline__ void load(OwnValue<unsigned> (&b)[4], Index tile, int buffer, int group,
                                         int pair) const {
        const std::uint16_t* const from =
            exchange.numbers + h_at(given, tile, buffer, group * kGroup + lane / 4, load_k(given, warp, lane, pair));
        asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(b[0].value), "=r"(b[1].value), "=r"(b[2].value), "=r"(b[3].value)
                     : "l"(from)
                     : "memory");
    }
    // In as few stores as the place's alignment allows.
    __device__ __forceinline__ void store(Index tile, int buffer, int row, int unit, const std::uint16_t* bits) const {
        std::uint16_t* const to = exchange.numbers + h_at(given, tile, buffer, row, unit * given.numbers);
        constexpr int words = given.numbers / 2;
        const auto word = [&](int i)
                              RNNKERNELS_INLINED { return bits[2 * i] | static_cast<unsigned>(bits[2 * i + 1]) << 16; };
        if constexpr (given.numbers % 2 == 1) {
            RNNKERNELS_IN_REGISTERS
            for (int i = 0; i < given.numbers; ++i)
                asm volatile("st.relaxed.gpu.global.u16 [%0], %1;" ::"l"(to + i), "h"(bits[i]) : "memory");
        } else if constexpr (words % 2 == 1) {
            RNNKERNELS_IN_REGISTERS
            for (int i = 0; i < words; ++i)
                asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(to + 2 * i), "r"(word(i)) : "memory");
        } else {
            RNNKERNELS_IN_REGISTERS
            for (int i = 0; i < words; i += 2)
                asm volatile("st.relaxed.gpu.global.v2.u32 [%0], {%1, %2};" ::"l"(to + 2 * i), "r"(word(i)),
                             "r"(word(i + 1))
                             : "memory");
        }
    }
    __device__ __forceinline__ void keep(int, int pair, int word, unsigned bits) const {
        constexpr int fours = given.words() / 4;
        reinterpret_cast<unsigned*>(&weights[(pair * fours + word / 4) * kGridThreads + warp * 32 + lane])[word % 4] =
            bits;
    }
    __device__ __forceinline__ void kept(OwnValue<unsigned> (&a)[2][4], int pair, int of_warp) const {
        const uint4* const own = weights + (pair * given.warp_tiles + of_warp) * 2 * kGridThreads + warp * 32 + lane;
        const uint4 first = own[0], second = own[kGridThreads];
        a[0][0].value = first.x, a[0][1].value = first.y, a[0][2].value = first.z, a[0][3].value = first.w;
        a[1][0].value = second.x, a[1][1].value = second.y, a[1][2].value = second.z, a[1][3].value = second.w;
    }
    __device__ __forceinline__ void put_sum(int at, float value) const { sums[at] = value; }
    __device__ __forceinline__ float sum(int at) const { return sums[at]; }

    // Of one value of its operands alone: the compiler may put loads before it.
    template <class Stored>
    __device__ __forceinline__ void multiply(OwnValue<float> (&sum)[4], const OwnValue<unsigned> (&a)[4],
                                             const OwnValue<unsigned>& b0, const OwnValue<unsigned>& b1) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
        static_assert(!Stored::kBfloat16, "products of bfloat16 begin at 8.0");
        half_product(sum, a[0], a[1], b0);
        half_product(sum, a[2], a[3], b1);
#else
        if constexpr (Stored::kBfloat16)
            asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                "{%0, %1, %2, %3};"
                : "+f"(sum[0].value), "+f"(sum[1].value), "+f"(sum[2].value), "+f"(sum[3].value)
                : "r"(a[0].value), "r"(a[1].value), "r"(a[2].value), "r"(a[3].value), "r"(b0.value), "r"(b1.value));
        else
            asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                "{%0, %1, %2, %3};"
                : "+f"(sum[0].value), "+f"(sum[1].value), "+f"(sum[2].value), "+f"(sum[3].value)
                : "r"(a[0].value), "r"(a[1].value), "r"(a[2].value), "r"(a[3].value), "r"(b0.value), "r"(b1.value));
#endif
    }

private:
    __device__ __forceinline__ static void half_product(OwnValue<float> (&sum)[4], const OwnValue<unsigned>& a0,
                                                        const OwnValue<unsigned>& a1, const OwnValue<unsigned>& b) {
        asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
            : "+f"(sum[0].value), "+f"(sum[1].value), "+f"(sum[2].value), "+f"(sum[3].value)
            : "r"(a0.value), "r"(a1.value), "r"(b.value));
    }
};

#endif

}  // namespace rnnkernels::RNNKERNELS_TARGET
