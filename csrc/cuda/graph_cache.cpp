// The rules of graph_cache.h.
#include "graph_cache.h"

#include <algorithm>

namespace rnnkernels::cuda {

GraphCache::Entry* GraphCache::find(const std::string& key) {
    const auto place = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.key == key; });
    if (place == entries_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, place);
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
        if (entries_.size() == limit_) entries_.pop_back();
        entries_.push_front({key, nullptr});
    }
    record(stream);
}

void GraphCache::clear() {
    const std::lock_guard<std::mutex> lock(guard_);
    entries_.clear();
    counts_ = {};
}

GraphCounts GraphCache::counts() const {
    const std::lock_guard<std::mutex> lock(guard_);
    return counts_;
}

}  // namespace rnnkernels::cuda
