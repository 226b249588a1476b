// The rules of graph_cache.h.
#include "graph_cache.h"

namespace rnnkernels::cuda {

GraphCache::Entry* GraphCache::find(const std::string& key) {
    const auto place = places_.find(key);
    if (place == places_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, place->second);
    return &entries_.front();
}

void GraphCache::put(const std::string& key, void* stream, const Record& record) {
    {
        const std::lock_guard<std::mutex> lock(guard_);
        if (Entry* entry = find(key)) {
            if (!entry->graph) {
                entry->graph = std::make_unique<Graph>(record);
                ++counts_.made;
            }
            entry->graph->run(stream);
            ++counts_.runs;
            return;
        }
        if (entries_.size() == limit_) {
            places_.erase(entries_.back().key);
            entries_.pop_back();
        }
        entries_.push_front({key, nullptr});
        places_[key] = entries_.begin();
    }
    record(stream);
}

void GraphCache::clear() {
    const std::lock_guard<std::mutex> lock(guard_);
    entries_.clear();
    places_.clear();
    counts_ = {};
}

GraphCache::Counts GraphCache::counts() const {
    const std::lock_guard<std::mutex> lock(guard_);
    return counts_;
}

}  // namespace rnnkernels::cuda
