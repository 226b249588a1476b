// Side streams where there is no GPU (csrc/cuda/sides.h): what is put into them is kept, and run in any order that
// their events allow, another one every time. One of them runs ahead as far as it may, now and then another. Who reads
// what nobody has made it wait for finds NaN, or what was there before; streams that do not begin behind the caller's,
// do not come back to it or wait for ever end the process, as a recording of a GPU's would fail.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "cuda/queue.h"
#include "cuda/sides.h"

namespace rnnkernels::cuda {

[[noreturn]] inline void sides_fault(const char* what) {
    std::fprintf(stderr, "side streams: %s\n", what);
    std::abort();
}

struct EmulatedSides {
    // An event stands before the work that was put into the stream after it.
    struct Mark {
        std::size_t position;
        int event;
        bool waits;
    };
    struct Stream {
        Recording work;
        std::vector<Mark> marks;
        std::size_t done = 0, passed = 0;  // of work, of marks
        bool follows = false;              // the caller's stream, by an event
    };
    std::vector<Stream> streams;
    std::vector<char> over;       // events
    std::vector<char> of_caller;  // recorded in the caller's stream
    std::mt19937 random;

    EmulatedSides(int count, int events)
        : streams(static_cast<std::size_t>(count)),
          over(static_cast<std::size_t>(events)),
          of_caller(static_cast<std::size_t>(events)) {
        static unsigned seed = 0;
        random.seed(++seed);
    }

    void restart() {
        for (Stream& stream : streams) stream.done = stream.passed = 0, stream.follows = false;
        over.assign(over.size(), 0);
    }
    bool at_end(const Stream& of) const { return of.done == of.work.size() && of.passed == of.marks.size(); }
    // One thing of a stream, if it may be.
    bool go_on(Stream& of) {
        if (of.passed < of.marks.size() && of.marks[of.passed].position == of.done) {
            const auto event = static_cast<std::size_t>(of.marks[of.passed].event);
            if (of.marks[of.passed].waits) {
                if (!over[event]) return false;
                of.follows = of.follows || of_caller[event];
            } else {
                over[event] = 1;
            }
            ++of.passed;
            return true;
        }
        if (of.done == of.work.size()) return false;
        if (!of.follows) sides_fault("one does not begin behind the caller's");
        of.work[of.done++]();
        return true;
    }
    // As far as an event, and others as far as they came meanwhile.
    void run_until(std::size_t event) {
        std::size_t at_work = random() % streams.size();
        while (!over[event]) {
            if (random() % 16 == 0) at_work = random() % streams.size();
            std::size_t asked = 0;
            for (; asked < streams.size() && !go_on(streams[at_work]); ++asked)
                at_work = (at_work + 1) % streams.size();
            if (asked == streams.size()) sides_fault("all wait for ever");
        }
    }
};

struct Sides::Held {
    std::shared_ptr<EmulatedSides> all;
    bool recorded = false;
};

Sides::Sides(int streams, int events) : held_(std::make_unique<Held>()) {
    held_->all = std::make_shared<EmulatedSides>(streams, events);
}
Sides::~Sides() {
    for (const auto& stream : held_->all->streams)
        if (!held_->recorded && !held_->all->at_end(stream)) sides_fault("one does not come back to the caller's");
}

void* Sides::stream(int side) const { return &held_->all->streams[static_cast<std::size_t>(side)].work; }

void Sides::record(int event, void* stream) {
    EmulatedSides& all = *held_->all;
    for (auto& side : all.streams)
        if (&side.work == stream) return side.marks.push_back({side.work.size(), event, false});
    const auto at = static_cast<std::size_t>(event);
    all.of_caller[at] = 1;
    if (!stream) {
        all.over[at] = 1;
        return;
    }
    held_->recorded = true;  // it may run as often as its owner wants
    static_cast<Recording*>(stream)->emplace_back([sides = held_->all, at] {
        sides->restart();
        sides->over[at] = 1;
    });
}

void Sides::wait(void* stream, int event) {
    EmulatedSides& all = *held_->all;
    for (auto& side : all.streams)
        if (&side.work == stream) return side.marks.push_back({side.work.size(), event, true});
    const auto at = static_cast<std::size_t>(event);
    if (stream)
        static_cast<Recording*>(stream)->emplace_back([sides = held_->all, at] { sides->run_until(at); });
    else
        all.run_until(at);
}

}  // namespace rnnkernels::cuda
