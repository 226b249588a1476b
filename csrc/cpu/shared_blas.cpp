// What shared_blas.h says. Compiled once, for the baseline instruction set.
#include "shared_blas.h"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <utility>

#include "flush_denormals.h"
#include "open_blas.h"
#include "together.h"

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace rnnkernels::cpu {

std::atomic<bool> blas_is_due{false};

namespace {

// The places of an OpenBLAS (open_blas.h) for our calls, as bits. kKept is the one behind those of OpenBLAS' own
// threads, the others are later ones: the last of all is bit 0. Low bits are taken first: their buffers are warm.
class Places {
public:
    static constexpr std::uint64_t kKept = std::uint64_t{1} << 63;
    static constexpr int kMost = 63;  // beside the kept one

    // `wanted` of the last `there` places; 0 where not as many are free.
    std::uint64_t take(int wanted, int there) {
        const std::uint64_t all = (std::uint64_t{1} << there) - 1;
        for (;;) {
            const std::uint64_t taken = taken_.load();
            std::uint64_t free = all & ~taken;
            if (std::popcount(free) < wanted) return 0;
            std::uint64_t mine = 0;
            for (int i = 0; i < wanted; ++i, free &= free - 1) mine |= free & (~free + 1);
            if (claim(taken, mine)) return mine;
        }
    }
    std::uint64_t take_kept() {
        wait_until([this] {
            const std::uint64_t taken = taken_.load();
            return (taken & kKept) == 0 && claim(taken, kKept);
        });
        return kKept;
    }
    void give(std::uint64_t mine) { taken_.fetch_and(~mine); }

    void begin_fork() {
        forks_.fetch_add(1);
        wait_until([this] { return taken_.load() == 0; });
    }
    void end_fork() { forks_.fetch_sub(1); }
    void begin_in_child() {  // of other threads' calls and forks nothing is left
        forks_.store(0);
        taken_.store(0);
    }

    // The first turns take some microseconds: as long as a call on its way to its end.
    template <class Done>
    static void wait_until(Done done) {
        for (int turn = 0; !done(); ++turn) {
            if (turn < 100)
                std::this_thread::yield();
            else
                std::this_thread::sleep_for(std::chrono::microseconds(50));
        }
    }

private:
    // Either a fork sees these places taken, or we see the fork and give them back for as long as it lasts.
    bool claim(std::uint64_t taken, std::uint64_t mine) {
        if (!taken_.compare_exchange_strong(taken, taken | mine)) return false;
        if (forks_.load() == 0) return true;
        give(mine);
        wait_until([this] { return forks_.load() == 0; });
        return false;
    }

    std::atomic<std::uint64_t> taken_{0};
    std::atomic<int> forks_{0};
};

// Whether a fork was lately. The first call afterwards starts OpenBLAS' threads anew, and frees all buffers but theirs
// and the kept place's; another call that began at the same time may do so once more while the first one's jobs run.
class Forked {
public:
    void note() { until_.store(kNoCallYet); }
    bool lately() {
        std::int64_t until = until_.load(std::memory_order_relaxed);
        if (until == kLongAgo) return false;
        const std::int64_t now = std::chrono::steady_clock::now().time_since_epoch() / std::chrono::milliseconds(1);
        if (until == kNoCallYet && until_.compare_exchange_strong(until, now + kMilliseconds)) return true;
        if (now < until) return true;
        until_.compare_exchange_strong(until, kLongAgo);
        return false;
    }

private:
    static constexpr std::int64_t kLongAgo = -1, kNoCallYet = -2;
    static constexpr std::int64_t kMilliseconds = 100;  // a call passes from its begin to its jobs in some microseconds
    std::atomic<std::int64_t> until_{kLongAgo};
};

// A call of OpenBLAS'.
struct Call {
    OpenBlas::Job job;
    std::size_t size;
    char* data;
    int extra;
    int kept_place, last_place;
    std::uint64_t places = 0;
    const Arithmetic arithmetic{};  // the caller's

    // The place of a job: the lowest bit is job 0's.
    int place(int number) const {
        if (places == Places::kKept) return kept_place;
        std::uint64_t left = places;
        for (int i = 0; i < number; ++i) left &= left - 1;
        return last_place - std::countr_zero(left);
    }
    void run(int number) const { job(place(number), data + static_cast<std::size_t>(number) * size, extra); }
};

void run_job(void* context, int number) {
    const Call& call = *static_cast<const Call*>(context);
    if (number == 0) return call.run(0);  // the caller's own: what it raises (overflow, say), the caller sees
    const Arithmetic::Here as_the_caller(call.arithmetic);
    call.run(number);
}

// An OpenBLAS that may have our callback. It keeps it: taken back while another thread is about to call it, the
// callback would be a null pointer that is called. Not shared, its jobs are handed to OpenBLAS' own threads.
struct Served {
    OpenBlas library;
    std::atomic<bool> shared{false};
    bool has_callback = false;
    Places places{};
    Forked forked{};

    int free_places() const { return std::clamp(library.places - *library.own_threads, 0, Places::kMost); }
    bool can_be_shared() const { return library.set_callback != nullptr && free_places() >= *library.own_threads; }

    void run(OpenBlas::Job job, int jobs, std::size_t size, void* data, int extra) noexcept {
        const int own = *library.own_threads;
        Call call{job, size, static_cast<char*>(data), extra, own > 0 ? own - 1 : 0, library.places - 1};
        const int wanted = shared.load(std::memory_order_relaxed) ? jobs : 1;
        call.places = places.take(wanted, free_places());
        if (call.places != 0 && forked.lately()) {  // asked behind take, where a fork holds calls up
            places.give(call.places);
            call.places = 0;
        }
        if (call.places == 0) call.places = places.take_kept();
        if (std::popcount(call.places) < jobs || !run_at_once(jobs, run_job, &call)) run_on_their_threads(call, jobs);
        places.give(call.places);
    }

private:
    // As OpenBLAS does without a callback: job 0 here, the others on its own threads, which are always there.
    void run_on_their_threads(const Call& call, int jobs) const {
        char* const others = call.data + call.size;
        if (jobs > 1) library.start(1, others);
        call.run(0);
        if (jobs > 1) library.wait(jobs - 1, others);
    }
};

constexpr int kMost = 8;
// Never destroyed: other threads may be in calls while the process ends.
std::array<std::atomic<Served*>, kMost> served{};
std::mutex finding;  // held by who adds to `served`, or changes callbacks

// A callback has no argument that says which library it serves, and a handler of forks has none at all.
template <int number>
struct Of {
    static void callback(int, OpenBlas::Job job, int jobs, std::size_t size, void* data, int extra) {
        served[number].load(std::memory_order_acquire)->run(job, jobs, size, data, extra);
    }
    static void before_fork() { served[number].load()->places.begin_fork(); }
    static void in_parent() {
        served[number].load()->forked.note();
        served[number].load()->places.end_fork();
    }
    static void in_child() {
        served[number].load()->forked.note();
        served[number].load()->places.begin_in_child();
    }
    static void heed_forks() {
#if !defined(_WIN32)
        // After OpenBLAS' own handler was registered: the last one registered is the first to run before a fork.
        pthread_atfork(before_fork, in_parent, in_child);
#endif
    }
};
struct Hooks {
    OpenBlas::Callback callback;
    void (*heed_forks)();
};
template <int... number>
constexpr std::array<Hooks, kMost> hooks_of(std::integer_sequence<int, number...>) {
    return {{{Of<number>::callback, Of<number>::heed_forks}...}};
}
constexpr std::array<Hooks, kMost> hooks = hooks_of(std::make_integer_sequence<int, kMost>{});

Served* at(int number) {
    return number >= 0 && number < kMost ? served[static_cast<std::size_t>(number)].load(std::memory_order_acquire)
                                         : nullptr;
}

// With `finding` held.
void look_for_libraries() {
    for (const OpenBlas& found : loaded_open_blas()) {
        std::size_t i = 0;
        while (i < kMost && served[i].load() != nullptr && served[i].load()->library.threads != found.threads) ++i;
        if (i == kMost || served[i].load() != nullptr) continue;
        auto* const fresh = new Served;
        fresh->library = found;
        served[i].store(fresh, std::memory_order_release);
    }
}

std::unique_lock<std::mutex> hold() {
#if !defined(_WIN32)
    static const int registered =
        pthread_atfork([] { finding.lock(); }, [] { finding.unlock(); }, [] { finding.unlock(); });
    (void)registered;
#endif
    return std::unique_lock<std::mutex>(finding);
}

}  // namespace

BlasInfo blas(int number) {
    if (number == 0) {
        const auto lock = hold();
        look_for_libraries();
    }
    const Served* const one = at(number);
    if (one == nullptr) return {};
    return {one->library.path.c_str(), one->library.threads(), one->shared.load()};
}

void set_blas_threads(int number, int threads) {
    if (Served* const one = at(number)) one->library.set_threads(threads);
}

void share_blas(bool share) {
    blas_is_due.store(false);
    const auto lock = hold();
    if (share) {
        prepare_run_at_once();
        look_for_libraries();
    }
    for (int i = 0; at(i) != nullptr; ++i) {
        Served& one = *at(i);
        const Hooks& ours = hooks[static_cast<std::size_t>(i)];
        if (one.library.set_callback == nullptr) continue;
        const OpenBlas::Callback now = *one.library.callback;
        const bool theirs = now != nullptr && now != ours.callback;
        if (!share || theirs || !one.can_be_shared()) {
            one.shared.store(false);
            continue;
        }
        one.shared.store(true);
        if (!one.has_callback) ours.heed_forks();
        one.has_callback = true;
        if (now == nullptr) one.library.set_callback(ours.callback);
    }
}

void share_blas_when_parallel(bool share) { blas_is_due.store(share); }

void share_due_blas() noexcept {
    try {
        if (blas_is_due.exchange(false)) share_blas(true);
    } catch (...) {  // no memory: not shared, which costs time and nothing else
    }
}

}  // namespace rnnkernels::cpu
