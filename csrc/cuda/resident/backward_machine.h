// What a warp of a resident backward can do (backward_warp.h) on a GPU of capability 9.0 and up. Gate gradients go to
// the block's own warps through its shared memory and a barrier on which each warp arrives once; parts of dL/dh go by
// st.async. No fence and no barrier of a block stands in a step.
#pragma once

#include "backward_geometry.h"
#include "machine.h"

namespace rnnkernels::RNNKERNELS_TARGET {

#if defined(__CUDACC__)

// A block's shared memory.
struct BackwardMailbox {
    Mailbox parts;       // its barriers; kGradientsBarrier is the third of them
    unsigned gradients;  // of two buffers

    // By one thread, before others know of it.
    __device__ void begin(unsigned bytes, unsigned of_second, unsigned warps) const {
        asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(parts.barriers + 8 * kGradientsBarrier), "r"(warps)
                     : "memory");
        parts.begin(bytes, of_second);
    }
    __device__ __forceinline__ void arrive() const {
        asm volatile(
            "mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(parts.barriers + 8 * kGradientsBarrier)
            : "memory");
    }
};

template <ResidentBackward given>
struct BackwardMachine {
    template <class V>
    using Own = OwnValue<V>;
    template <int count>
    using Values = OwnValues<count>;
    static constexpr int kTiles = given.tiles(), kDepth = given.held(), kGroups = given.of.groups;
    static constexpr int kLaneUnits = given.of.lane_units();
    RNNKERNELS_INLINE static constexpr ResidentBackward shape() { return given; }

    const BackwardMailbox mailbox;
    int block, warp, lane;

    template <class Use>
    __device__ __forceinline__ void lanes(Use use) const {
        use(lane);
    }
    template <class Use>
    __device__ __forceinline__ void lanes_later(Use use) const {
        int later = lane;
        asm volatile("" : "+r"(later));
        use(later);
    }
    __device__ __forceinline__ void put(int, int buffer, int row, int column, std::uint16_t bits) const {
        asm volatile("st.shared.u16 [%0], %1;" ::"r"(gradient(buffer, row, column)), "h"(bits) : "memory");
    }
    __device__ __forceinline__ void put(int, int buffer, int row, int column, std::uint32_t bits) const {
        asm volatile("st.shared.u32 [%0], %1;" ::"r"(gradient(buffer, row, column)), "r"(bits) : "memory");
    }
    __device__ __forceinline__ void arrive() const {
        __syncwarp();
        if (lane == 0) mailbox.arrive();
    }
    __device__ __forceinline__ void load(OwnValue<unsigned> (&b)[4], int buffer, int group, int k) const {
        const int column = k * given.of.tile_depth() + 16 / given.of.number_bytes() * (lane >> 3);
        load_matrices(b, gradient(buffer, group * kGroup + (lane & 7), column));
    }
    __device__ __forceinline__ void load_numbers(int, int buffer, int row, int column, float (&du)[4]) const {
        asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                     : "=f"(du[0]), "=f"(du[1]), "=f"(du[2]), "=f"(du[3])
                     : "r"(gradient(buffer, row, column))
                     : "memory");
    }
    template <class V>
    __device__ __forceinline__ void shuffle(OwnValue<V>& own, int distance) const {
        own.value = __shfl_xor_sync(0xffffffffU, own.value, distance);
    }
    __device__ __forceinline__ void put_spare(int, int index, const unsigned (&words)[4]) const {
        store_words(spare_place(index), words);
    }
    __device__ __forceinline__ void get_spare(int index, OwnValue<unsigned> (&own)[4]) const {
        load_words(spare_place(index), own);
    }
    template <class Stored>
    __device__ __forceinline__ void multiply(OwnValue<float> (&sum)[4], const OwnValue<unsigned> (&a)[4],
                                             const OwnValue<unsigned>& b0, const OwnValue<unsigned>& b1) const {
        multiply_tile<Stored>(sum, a, b0, b1);
    }
    __device__ __forceinline__ void send_part(int, int peer, int buffer, int place, float a, float b) const {
        asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1, %2}, [%3];" ::"r"(
                         address_in(part(buffer, place), peer)),
                     "f"(a), "f"(b), "r"(address_in(mailbox.parts.barriers + 8 * buffer, peer))
                     : "memory");
    }
    __device__ __forceinline__ void send_parts(int, int peer, int buffer, int place, const float (&of)[4]) const {
        asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(
                         address_in(part(buffer, place), peer)),
                     "f"(of[0]), "f"(of[1]), "f"(of[2]), "f"(of[3]),
                     "r"(address_in(mailbox.parts.barriers + 8 * buffer, peer))
                     : "memory");
    }
    __device__ __forceinline__ float take_part(int, int buffer, int place) const {
        float value;
        asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(part(buffer, place)) : "memory");
        return value;
    }

private:
    __device__ __forceinline__ unsigned gradient(int buffer, int row, int column) const {
        return mailbox.gradients +
               static_cast<unsigned>((buffer * given.buffer() + row * given.row() + column) * given.of.number_bytes());
    }
    __device__ __forceinline__ unsigned spare_place(int index) const {
        const int at = (warp * given.spare() + index) * kWarpLanes + lane;
        return mailbox.parts.barriers + static_cast<unsigned>(given.spare_begins() + at * 16);
    }
    __device__ __forceinline__ unsigned part(int buffer, int place) const {
        return mailbox.parts.h + static_cast<unsigned>(buffer * given.buffer_bytes() + place * 4);
    }
};

#endif

}  // namespace rnnkernels::RNNKERNELS_TARGET
