// The order of calls' pieces (csrc/cuda/overlap.h) and the clusters of both directions (csrc/cuda/resident/pair.h):
// every step once and in its order, nothing before what it waits for, layers side by side; every row of both calls
// once.
#include <algorithm>
#include <cstdio>
#include <string>

#include "cuda/overlap.h"
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
    if (faults > 0) return 1;
    std::puts("overlap: ok");
}
