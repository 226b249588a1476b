// What a warp of a resident kernel can do (warp.h) on a GPU of capability 9.0 and up: mma.sync, ldmatrix, and h sent to
// the blocks of a cluster by st.async, whose bytes complete on the receiving block's mbarrier. No fence and no barrier
// of a block stands in a step.
//
// Compiled with RNNKERNELS_BOUNDED_WAITS a wait that takes too long traps instead of hanging: a debugging build's.
#pragma once

#include "operands.h"

namespace rnnkernels::RNNKERNELS_TARGET {

#if defined(__CUDACC__)

template <class V>
struct OwnValue {
    V value;
    RNNKERNELS_INLINE V& operator[](int) { return value; }
    RNNKERNELS_INLINE const V& operator[](int) const { return value; }
};
template <int count>
struct OwnValues {
    Vec<float> value[count > 0 ? count : 1];
    RNNKERNELS_INLINE Vec<float>* of(int) { return value; }
    RNNKERNELS_INLINE const Vec<float>* of(int) const { return value; }
};

__device__ __forceinline__ unsigned shared_address(const void* at) {
    return static_cast<unsigned>(__cvta_generic_to_shared(at));
}
// That address in the memory of another block of the cluster.
__device__ __forceinline__ unsigned address_in(unsigned address, unsigned block) {
    unsigned there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(block));
    return there;
}
__device__ __forceinline__ void arrive_cluster() {
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void wait_cluster() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }

// h and barriers of a block, in its shared memory.
struct Mailbox {
    unsigned h, barriers;  // of two buffers each

    // By one thread, before others know of it.
    __device__ __forceinline__ void begin(unsigned bytes) const { begin(bytes, bytes); }
    __device__ __forceinline__ void begin(unsigned bytes, unsigned of_second) const {
        for (unsigned buffer = 0; buffer < 2; ++buffer) {
            asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(barriers + 8 * buffer) : "memory");
            expect(buffer, buffer == 0 ? bytes : of_second);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    // The next phase of a buffer ends when so many bytes have come.
    __device__ __forceinline__ void expect(unsigned buffer, unsigned bytes) const {
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barriers + 8 * buffer), "r"(bytes)
                     : "memory");
    }
    // Another block's messages release at the cluster's scope, so that to acquire at the block's would not do. An
    // acquire of the cluster's in the wait itself empties the L1 cache (CCTL.IVALL), for the sake of global memory; a
    // fence that is restricted to shared memory orders all that is sent here, and is no instruction of its own.
    __device__ __forceinline__ void wait(unsigned buffer, unsigned parity) const {
        unsigned done = 0;
#if defined(RNNKERNELS_BOUNDED_WAITS)
        for (int left = 1 << 20; !done; --left) {
            if (left == 0) __trap();
#else
        while (!done) {
#endif
            asm volatile(
                "{\n.reg .pred p;\nmbarrier.try_wait.parity.relaxed.cluster.shared::cta.b64 p, [%1], %2;\n"
                "selp.u32 %0, 1, 0, p;\n}"
                : "=r"(done)
                : "r"(barriers + 8 * buffer), "r"(parity)
                : "memory");
        }
        asm volatile("fence.acquire.sync_restrict::shared::cluster.cluster;" ::: "memory");
    }
};

// Sixteen bytes of the own block's memory.
__device__ __forceinline__ void store_words(unsigned at, const unsigned (&words)[4]) {
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(at), "r"(words[0]), "r"(words[1]), "r"(words[2]),
                 "r"(words[3])
                 : "memory");
}
__device__ __forceinline__ void load_words(unsigned at, OwnValue<unsigned> (&own)[4]) {
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(own[0].value), "=r"(own[1].value), "=r"(own[2].value), "=r"(own[3].value)
                 : "r"(at)
                 : "memory");
}
// Four matrices of 8 rows of 16 bytes; each lane has the address of one row.
__device__ __forceinline__ void load_matrices(OwnValue<unsigned> (&b)[4], unsigned row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(b[0].value), "=r"(b[1].value), "=r"(b[2].value), "=r"(b[3].value)
                 : "r"(row)
                 : "memory");
}
// sum + A B of one tile.
template <class Stored>
__device__ __forceinline__ void multiply_tile(OwnValue<float> (&sum)[4], const OwnValue<unsigned> (&a)[4],
                                              const OwnValue<unsigned>& b0, const OwnValue<unsigned>& b1) {
    if constexpr (!is_half<Stored>)
        asm volatile(
            "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
            "{%0, %1, %2, %3};"
            : "+f"(sum[0].value), "+f"(sum[1].value), "+f"(sum[2].value), "+f"(sum[3].value)
            : "r"(a[0].value), "r"(a[1].value), "r"(a[2].value), "r"(a[3].value), "r"(b0.value), "r"(b1.value));
    else if constexpr (Stored::kBfloat16)
        asm volatile(
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
            "{%0, %1, %2, %3};"
            : "+f"(sum[0].value), "+f"(sum[1].value), "+f"(sum[2].value), "+f"(sum[3].value)
            : "r"(a[0].value), "r"(a[1].value), "r"(a[2].value), "r"(a[3].value), "r"(b0.value), "r"(b1.value));
    else
        asm volatile(
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
            "{%0, %1, %2, %3};"
            : "+f"(sum[0].value), "+f"(sum[1].value), "+f"(sum[2].value), "+f"(sum[3].value)
            : "r"(a[0].value), "r"(a[1].value), "r"(a[2].value), "r"(a[3].value), "r"(b0.value), "r"(b1.value));
}

template <Resident given>
struct Machine {
    template <class V>
    using Own = OwnValue<V>;
    template <int count>
    using Values = OwnValues<count>;
    static constexpr int kTiles = given.tiles(), kDepth = given.held_of(given.tiles() - 1), kGroups = given.groups;
    static constexpr int kLaneUnits = given.lane_units();
    RNNKERNELS_INLINE static constexpr Resident shape() { return given; }

    const Mailbox mailbox;
    int block, warp, lane;

    template <class Use>
    __device__ __forceinline__ void lanes(Use use) const {
        use(lane);
    }
    // By a lane that the compiler cannot know to be the same: it makes addresses again, and keeps none for so long.
    template <class Use>
    __device__ __forceinline__ void lanes_later(Use use) const {
        int later = lane;
        asm volatile("" : "+r"(later));
        use(later);
    }
    template <class V>
    __device__ __forceinline__ void shuffle(OwnValue<V>& own, int distance) const {
        own.value = __shfl_xor_sync(0xffffffffU, own.value, distance);
    }
    __device__ __forceinline__ void load(OwnValue<unsigned> (&b)[4], int buffer, int group, int column) const {
        const int row = group * kGroup + (lane & 7);
        load_matrices(b, place(buffer, row, column + 16 / given.number_bytes() * (lane >> 3)));
    }
    template <class Stored>
    __device__ __forceinline__ void multiply(OwnValue<float> (&sum)[4], const OwnValue<unsigned> (&a)[4],
                                             const OwnValue<unsigned>& b0, const OwnValue<unsigned>& b1) const {
        multiply_tile<Stored>(sum, a, b0, b1);
    }
    __device__ __forceinline__ void send(int, int peer, int buffer, int row, int column, std::uint64_t bytes) const {
        asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.b64 [%0], %1, [%2];" ::"r"(
                         address_in(place(buffer, row, column), peer)),
                     "l"(bytes), "r"(address_in(mailbox.barriers + 8 * buffer, peer))
                     : "memory");
    }
    __device__ __forceinline__ void send_words(int, int peer, int buffer, int row, int column,
                                               const unsigned (&words)[4]) const {
        asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(
                         address_in(place(buffer, row, column), peer)),
                     "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3]),
                     "r"(address_in(mailbox.barriers + 8 * buffer, peer))
                     : "memory");
    }
    __device__ __forceinline__ void load_numbers(int, int buffer, int row, int column, float (&h)[4]) const {
        asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                     : "=f"(h[0]), "=f"(h[1]), "=f"(h[2]), "=f"(h[3])
                     : "r"(place(buffer, row, column))
                     : "memory");
    }
    // No other lane reads them.
    __device__ __forceinline__ void put_spare(int, int index, const unsigned (&words)[4]) const {
        store_words(spare_place(index), words);
    }
    __device__ __forceinline__ void get_spare(int index, OwnValue<unsigned> (&own)[4]) const {
        load_words(spare_place(index), own);
    }

private:
    __device__ __forceinline__ unsigned spare_place(int index) const {
        const int at = (warp * given.spare() + index) * kWarpLanes + lane;
        return mailbox.barriers + static_cast<unsigned>(given.spare_begins() + at * 16);
    }
    __device__ __forceinline__ unsigned place(int buffer, int row, int column) const {
        return mailbox.h +
               static_cast<unsigned>((buffer * given.buffer() + row * given.row() + column) * given.number_bytes());
    }
};

#endif

}  // namespace rnnkernels::RNNKERNELS_TARGET
