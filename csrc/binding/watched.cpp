// The thread behind watched.h.
#include "watched.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace rnnkernels::binding {
namespace {

constexpr auto kTick = std::chrono::milliseconds(50);
// Multiply-adds that take a fast core half a millisecond, and a slow one not much more than a tick.
constexpr double kLongWork = 64e6;
// What a row of a step costs beside its products, in multiply-adds.
constexpr double kRowWork = 1024;

double work_of(const Inputs& in) {
    const Shape& s = in.shape;
    const auto steps = static_cast<double>(s.steps), batch = static_cast<double>(s.batch);
    const auto hidden = static_cast<double>(s.hidden), input = in.x ? static_cast<double>(s.input) : 0;
    const double rows = in.starts ? static_cast<double>(in.starts[s.steps]) : steps * batch;
    return rows * (4 * hidden * (hidden + input) + kRowWork);
}

bool on_main_thread() {
    const py::object main = py::module_::import("threading").attr("main_thread")();
    return main.attr("ident").cast<unsigned long>() == PyThread_get_thread_ident();
}

// Raises the flag of the call that is made known to it. It waits for the next call when a tick finds none.
class Ticker {
public:
    bool start() {
        try {
            std::thread(&Ticker::work, this).detach();
            return true;
        } catch (const std::system_error&) {
            return false;  // the system refuses more threads: calls end when they end
        }
    }
    // The call that was known before.
    Watch* exchange(Watch* next) {
        const std::lock_guard<std::mutex> lock(mutex_);
        Watch* const before = watched_;
        watched_ = next;
        ++number_;
        if (next && waits_) wake_.notify_one();
        return before;
    }

private:
    [[noreturn]] void work() {
        std::unique_lock<std::mutex> lock(mutex_);
        for (unsigned long seen = 0;;) {
            waits_ = true;
            wake_.wait(lock, [this] { return watched_ != nullptr; });
            waits_ = false;
            wake_.wait_for(lock, kTick, [] { return false; });
            if (watched_ && number_ == seen) {
                int run = Watch::kRun;
                __atomic_compare_exchange_n(&watched_->flag, &run, static_cast<int>(Watch::kAsk), false,
                                            __ATOMIC_RELAXED, __ATOMIC_RELAXED);
            }
            seen = number_;
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    Watch* watched_ = nullptr;
    unsigned long number_ = 0;  // of calls that came and went
    bool waits_ = false;
};

// Never destroyed: its thread sleeps in it while the process ends. Calls of the main thread alone come here.
std::atomic<Ticker*> ticker{nullptr};

// In the child of a fork: the thread did not come along.
[[maybe_unused]] void forget_ticker() { ticker.store(nullptr); }

Ticker* the_ticker() {
    Ticker* const current = ticker.load();
    if (current) return current;
#if !defined(_WIN32)
    static const int registered = pthread_atfork(nullptr, nullptr, forget_ticker);
    (void)registered;
#endif
    auto fresh = std::make_unique<Ticker>();
    if (!fresh->start()) return nullptr;
    ticker.store(fresh.get());
    return fresh.release();
}

bool hear(void* released) { return static_cast<Released*>(released)->check_signals(); }

}  // namespace

bool Watched::takes_long(const Inputs& in, std::size_t layers) {
    return !kDeviceArrays && work_of(in) * static_cast<double>(layers) >= kLongWork;
}

Watched::Watched(const Inputs& in, std::size_t layers) {
    if (!takes_long(in, layers) || !on_main_thread()) return;
    Ticker* const by = the_ticker();
    if (!by) return;
    watch_.go_on = hear;
    before_ = by->exchange(&watch_);
    ticker_ = by;
    on_ = true;
}

Watched::~Watched() {
    if (on_) static_cast<Ticker*>(ticker_)->exchange(before_);
}

}  // namespace rnnkernels::binding
