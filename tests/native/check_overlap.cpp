// The order of calls' pieces (csrc/cuda/overlap.h), the clusters of both directions (csrc/cuda/resident/pair.h) and of
// a card (csrc/cuda/resident/{clusters,occupancy}.h): every step once and in its order, nothing before what it waits
// for, layers side by side; every row of both calls once; no more clusters than there is room for.
#include <algorithm>
#include <cstdio>
#include <string>

#include "cuda/overlap.h"
#include "cuda/resident/backward_geometry.h"
#include "cuda/resident/occupancy.h"
#include "cuda/resident/pair.h"

using namespace rnnkernels;
using namespace rnnkernels::cuda;

namespace {

int faults = 0;
void expect(bool holds, const char* what, Index steps, Index piece) {
    if (holds) return;
    if (++faults < 20)
        std::fprintf(stderr, "%s: steps %lld piece %lld\n", what, static_cast<long long>(steps),
                     static_cast<long long>(piece));
}

void check_order(const std::vector<LinkedCall>& calls, Index piece, bool down) {
    const Index steps = calls[0].steps;
    const std::vector<Part> parts = overlapped(calls, piece, down);
    std::vector<Index> done(calls.size());
    std::vector<int> count(calls.size());
    std::vector<char> ended(calls.size());
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const Part& part = parts[i];
        const auto at = static_cast<std::size_t>(part.call);
        const LinkedCall& call = calls[at];
        const Index first = down ? call.steps - part.last : part.first,
                    last = down ? call.steps - part.first : part.last;
        expect(first == done[at] && last >= first && last <= call.steps, "steps out of order", steps, piece);
        expect(part.begins == (count[at] == 0) && !ended[at], "a begin or an end", steps, piece);
        done[at] = last, ++count[at], ended[at] = part.ends;
        if (call.before < 0) {
            expect(part.after < 0, "waits for nobody's", steps, piece);
            continue;
        }
        // What its stream has waited for by now holds for this part too.
        const auto before = static_cast<std::size_t>(call.before);
        expect(part.after < static_cast<int>(i), "waits for what comes later", steps, piece);
        if (part.after >= 0)
            expect(parts[static_cast<std::size_t>(part.after)].call == call.before, "waits for another", steps, piece);
        if (call.by_piece) {
            const Part& needed = parts[static_cast<std::size_t>(std::max(part.after, 0))];
            expect(part.after >= 0 && needed.first == part.first && needed.last == part.last, "the same piece", steps,
                   piece);
            // Side by side: the call before is one piece ahead, unless it has ended.
            expect(count[before] == count[at] + (ended[before] ? 0 : 1) || ended[before], "not side by side", steps,
                   piece);
        } else if (part.begins) {
            expect(part.after >= 0 && ended[before] && parts[static_cast<std::size_t>(part.after)].ends,
                   "waits for all of it", steps, piece);
        }
    }
    for (std::size_t i = 0; i < calls.size(); ++i) {
        expect(done[i] == calls[i].steps && ended[i], "all steps", steps, piece);
        expect(count[i] <= kMostPieces, "few pieces", steps, piece);
    }
}

void check_pair() {
    for (int first = 0; first < 5; ++first)
        for (int second = 0; second < 5; ++second) {
            std::vector<int> seen[2] = {std::vector<int>(5), std::vector<int>(5)};
            for (int cluster = 0; cluster < first + second; ++cluster) {
                const PairPlace at = pair_place(cluster, first);
                ++seen[at.call][static_cast<std::size_t>(at.tile)];
            }
            for (int i = 0; i < 5; ++i)
                expect(seen[0][static_cast<std::size_t>(i)] == (i < first ? 1 : 0) &&
                           seen[1][static_cast<std::size_t>(i)] == (i < second ? 1 : 0),
                       "a cluster's rows", first, second);
        }
    const Resident shape{4, 64, kBlockWarps, 2, 3};  // 24 rows
    for (const auto& [batch, wanted] : {std::pair<Index, int>{0, 0}, {1, 1}, {24, 1}, {25, 2}, {1000, 42}})
        expect(clusters_of(shape, batch) == wanted, "clusters", batch, wanted);
}

// The second call's launch has both; where the first has not come, or does not wait, a launch has one call.
void check_launches() {
    struct OneCall {
        Index batch;
    };
    const Resident shape{4, 64, kBlockWarps, 2, 1};
    PairOf<OneCall> pair{};
    expect(!pair.keeps({9}) && pair.with(shape, {9}).clusters == 0, "a call that waits for nobody", 0, 0);
    for (int launch = 0; launch < 2; ++launch) {
        pair.waits = true;
        expect(pair.keeps({9}) && !pair.keeps({17}), "the first's call is kept, the second's is not", launch, 0);
        const PairOf<OneCall> both = pair.with(shape, {17});
        expect(both.clusters == 2 && both.call[0].batch == 9 && both.call[1].batch == 17, "both calls", launch, 0);
    }
    pair.waits = false;
    expect(!pair.keeps({9}) && pair.with(shape, {9}).clusters == 0, "the rest of one call", 0, 0);
}

void check_room() {
    for (const int capability : {75, 89, 90, 100, 110, 120, 121})
        for (int processors = 0; processors <= 200; ++processors) {
            const ClusterRoom room = modelled_room(capability, processors);
            const int most = capability < 90 || processors == 0 ? 0 : capability <= 100 ? kMostCluster : 8;
            expect(room.largest() <= std::min(most, processors), "largest", capability, processors);
            expect(room.at_once(1) == (most > 0 ? processors : 0), "processors", capability, processors);
            expect(room.at_once(0) == 0 && room.at_once(kMostCluster + 1) == 0, "no such cluster", capability, 0);
            for (int blocks = 2; blocks <= most; ++blocks) {
                expect(room.at_once(blocks) <= room.at_once(blocks - 1), "more larger ones", capability, processors);
                // A group has less over than a cluster.
                const int whole = group_processors(capability), groups = (processors + whole - 1) / whole;
                const int over = processors - blocks * room.at_once(blocks);
                expect(over >= 0 && over <= groups * (blocks - 1), "processors over", capability, processors);
                expect(half_of(room).at_once(blocks) == room.at_once(blocks) / 2, "half", capability, processors);
            }
        }
    const ClusterRoom h100 = modelled_room(90, 132);
    for (const auto& [blocks, wanted] : {std::pair{1, 132}, {2, 66}, {4, 31}, {8, 15}, {12, 8}, {16, 7}})
        expect(h100.at_once(blocks) == wanted, "an H100's clusters", blocks, wanted);
    expect(modelled_room(120, 170).at_once(9) == 0 && modelled_room(120, 170).at_once(8) > 0, "of 9 blocks", 120, 170);
    // What a card does not say is the model's up to 8 blocks, and nothing beyond.
    int said[kMostCluster + 1];
    for (int& count : said) count = kUnsaid;
    expect(room_of(said, h100).at_once(8) == 15 && room_of(said, h100).largest() == 8, "nothing said", 0, 0);
    said[8] = 3, said[16] = 2;
    expect(room_of(said, h100).at_once(8) == 3 && room_of(said, h100).at_once(16) == 2, "said", 0, 0);
}

// Clusters that a card cannot have serve nothing; those of float32 in full are all there at once, for two calls too.
void check_divided() {
    const ClusterRoom h100 = modelled_room(90, 132), small = modelled_room(120, 170);
    for (const Operands operands : {Operands::halves, Operands::tf32, Operands::full})
        for (const Index hidden : {32, 256, 257, 384, 512}) {
            const bool large = hidden > 256;
            const Resident on = divide(4, hidden, 2, small, operands);
            const ResidentBackward back = divide_backward(4, hidden, 2, small, most_shared(90), operands);
            expect((on.blocks > 0) == !large && (!large || back.of.blocks == 0), "more than 8 blocks", hidden, 0);
            if (operands == Operands::full) continue;
            expect(divide(4, hidden, 2, h100, operands).blocks == (hidden + 31) / 32, "blocks", hidden, 0);
        }
    for (const Index hidden : {32, 100, 256, 288, 384})
        for (Index batch = 1; batch < 300; ++batch)
            for (const bool half : {false, true}) {
                const Resident of = divide(4, hidden, batch, half ? half_of(h100) : h100, Operands::full);
                const int room = h100.at_once(of.blocks);
                expect(of.blocks == 0 || clusters_of(of, batch) * (half ? 2 : 1) <= room, "a second wave", hidden,
                       batch);
            }
    for (const auto& [hidden, most] : {std::pair<Index, Index>{256, 120}, {288, 88}, {384, 64}}) {
        expect(most_rows(4, hidden, h100, most_shared(90)) == most, "most rows", hidden, most);
        expect(divide(4, hidden, most, h100, Operands::full).blocks > 0, "rows that fit", hidden, most);
        expect(divide(4, hidden, most + 1, h100, Operands::full).blocks == 0, "rows that do not", hidden, most);
    }
    expect(most_rows(4, 256, half_of(h100), most_shared(90)) == 56, "most rows of half a card", 256, 56);
}

}  // namespace

int main() {
    for (const bool down : {false, true})
        for (const Index steps : {0, 1, 2, 7, 64, 65, 1000, 100000})
            for (const Index piece : {1, 2, 3, 64, 1000000}) {
                check_order({{-1, false, steps}}, piece, down);
                check_order({{-1, false, steps}, {-1, false, steps}}, piece, down);
                check_order({{-1, false, steps}, {0, true, steps}, {1, true, steps}, {2, true, steps}}, piece, down);
                check_order({{-1, false, steps}, {0, false, steps + 1}, {1, true, steps + 1}}, piece, down);
                check_order({{-1, false, steps}, {-1, false, 3}, {0, true, steps}, {1, false, steps}}, piece, down);
            }
    check_pair();
    check_launches();
    check_room();
    check_divided();
    if (faults > 0) return 1;
    std::puts("overlap: ok");
}
