// Which calls come again: they are put into their stream as graphs, where the user wants that.
//
// A graph has the addresses of a call's arrays in it. Loops whose memory comes from a caching allocator give a call the
// same ones again and again; a call with any other address, size or seed is another call. The first time a call is seen
// it is put into its stream piece by piece, the second time its graph is made, then the graph alone is run: one launch
// instead of several for every step.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>

#include "../device_table.h"
#include "graph.h"

namespace rnnkernels::cuda {

class GraphCache {
public:
    explicit GraphCache(std::size_t limit) : limit_(limit) {}

    // Puts a call into the stream. `key`: everything of it that `record` puts there; the caller's device is current.
    void put(const std::string& key, void* stream, const Record& record);

    void clear();
    GraphCounts counts() const;

private:
    struct Entry {
        std::string key;
        std::unique_ptr<Graph> graph;  // null: seen once
    };

    Entry* find(const std::string& key);  // and make it the latest

    const std::size_t limit_;
    mutable std::mutex guard_;  // held while a graph is launched: it must not be from two threads
    std::list<Entry> entries_;  // latest first
    GraphCounts counts_{};
};

}  // namespace rnnkernels::cuda
