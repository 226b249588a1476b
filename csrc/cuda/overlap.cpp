// The rule behind overlap.h.
#include "overlap.h"

#include <algorithm>

namespace rnnkernels::cuda {

std::vector<Part> overlapped(const std::vector<LinkedCall>& calls, Index piece, bool down) {
    struct Turn {
        Index wave;
        int call;
        Index number;  // of the piece
    };
    std::vector<Index> begin(calls.size()), pieces(calls.size()), steps(calls.size());
    std::vector<Turn> turns;
    for (std::size_t i = 0; i < calls.size(); ++i) {
        const LinkedCall& call = calls[i];
        const Index least = (call.steps + kMostPieces - 1) / kMostPieces;
        steps[i] = std::max({piece, least, Index{1}});
        pieces[i] = std::max((call.steps + steps[i] - 1) / steps[i], Index{1});
        if (call.before >= 0) {
            const auto before = static_cast<std::size_t>(call.before);
            begin[i] = begin[before] + (call.by_piece ? 1 : pieces[before]);
        }
        for (Index c = 0; c < pieces[i]; ++c) turns.push_back({begin[i] + c, static_cast<int>(i), c});
    }
    std::stable_sort(turns.begin(), turns.end(), [](const Turn& a, const Turn& b) { return a.wave < b.wave; });
    std::vector<std::vector<int>> placed(calls.size());  // of each call its parts' places
    std::vector<Part> parts;
    for (const Turn& turn : turns) {
        const auto i = static_cast<std::size_t>(turn.call);
        const LinkedCall& call = calls[i];
        const Index from = std::min(turn.number * steps[i], call.steps), to = std::min(from + steps[i], call.steps);
        Part part{turn.call, from, to, -1, turn.number == 0, turn.number + 1 == pieces[i]};
        if (down) part.first = call.steps - to, part.last = call.steps - from;
        if (call.before >= 0) {
            const std::vector<int>& needed = placed[static_cast<std::size_t>(call.before)];
            if (call.by_piece)
                part.after = needed[static_cast<std::size_t>(turn.number)];
            else if (part.begins)  // what follows stands behind it in the stream
                part.after = needed.back();
        }
        placed[i].push_back(static_cast<int>(parts.size()));
        parts.push_back(part);
    }
    return parts;
}

}  // namespace rnnkernels::cuda
