// The cards behind cards.h.
#include "cards.h"

#include <map>
#include <mutex>

#include "../device_table.h"
#include "resident/occupancy.h"

namespace rnnkernels::cuda {

Card card_of(int device) {
    static std::mutex guard;
    static auto* cards = new std::map<int, Card>;
    const std::lock_guard<std::mutex> lock(guard);
    auto known = cards->find(device);
    if (known == cards->end()) {
        try {
            const DeviceInfo info = device_info(device);
            known = cards->insert({device, {info.capability, info.processors}}).first;
        } catch (const Unavailable&) {
            return {};  // call_bytes may be asked where there is no GPU
        }
    }
    Card card = known->second;
    card.room = asked_room(device, card.capability, card.processors);
    return card;
}

}  // namespace rnnkernels::cuda
