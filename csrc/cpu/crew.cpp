// Joining, leaving and waiting (crew.h), with the measurements behind the bounds. Compiled once, for the baseline
// instruction set.
#include "crew.h"

#include <chrono>
#include <cstdio>
#include <thread>

#include "flush_denormals.h"
#include "thread_limits.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif
#if !defined(_WIN32)
#include <sched.h>
#endif

namespace rnnkernels::cpu {
namespace {

// Turns of a wait. A turn is a pause instruction: 27 to 37 ns where it was measured (Zen 4), some 40 ns on Intel's from
// Skylake on.
constexpr long long kTimed = 64;     // from here on a wait is timed
constexpr long long kSpins = 1000;   // then the core is offered to others with every turn
constexpr long long kYields = 200;   // then it naps: a core without work fetches a thread that waits for one
constexpr long long kStays = 10000;  // then a thread that is not the caller leaves the call

// Nanoseconds.
constexpr long long kNap = 50'000, kLongestNap = 1'000'000;
constexpr long long kTrial = 100'000;  // of waits that a caller bears in any case
// Calls are alone for a while once one has lost by its meetings: for so many times what it has waited, or twice as long
// as the last time; half as long again after each call that has not lost.
constexpr long long kBreakOfWaits = 10, kLongestBreak = 250'000'000;

// Thrown out of a call by a thread that has nothing to do there.
struct Left {};

long long now() {
    using std::chrono::steady_clock;
    return std::chrono::duration_cast<std::chrono::nanoseconds>(steady_clock::now().time_since_epoch()).count();
}

void pause() {
#if defined(__x86_64__) || defined(_M_X64)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// A worker that wakes on its caller's processor would take turns with it, a slice at a time, until the system
// moves one of them: for the next milliseconds every meeting would cost 30 us instead of 0.2. So it goes away by
// itself: barred from that processor for the moment, then free again.
void leave_processor(int processor) {
#if defined(__linux__)
    if (processor < 0 || sched_getcpu() != processor || processor >= CPU_SETSIZE) return;
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
    cpu_set_t others = allowed;
    CPU_CLR(static_cast<std::size_t>(processor), &others);
    sched_setaffinity(0, sizeof others, &others);
    sched_setaffinity(0, sizeof allowed, &allowed);
#else
    (void)processor;
#endif
}

// heed without the throw: whether the call goes on.
bool goes_on(Watch& watch) {
    if (__atomic_load_n(&watch.flag, __ATOMIC_RELAXED) == Watch::kAsk && watch.asker == this_thread()) {
        __atomic_store_n(&watch.flag, Watch::kRun, __ATOMIC_RELAXED);
        const FlushDenormals as_usual(false);  // whoever is asked may calculate
        if (!watch.go_on(watch.context)) __atomic_store_n(&watch.flag, Watch::kStop, __ATOMIC_RELAXED);
    }
    return __atomic_load_n(&watch.flag, __ATOMIC_RELAXED) != Watch::kStop;
}

}  // namespace

void relax(long long spins) {
    pause();
    if (spins > kSpins) std::this_thread::yield();
}

int current_processor() {
#if defined(__linux__)
    return sched_getcpu();
#else
    return -1;
#endif
}

const void* this_thread() {
    static thread_local char here;
    return &here;
}

void heed(Watch& watch) {
    if (!goes_on(watch)) throw Stopped{};
}

bool Crew::has_break() const { return break_ > 0 && now() < break_end_; }

std::uint32_t Crew::open(Task task, void* context, Watch& watch) {
    task_ = task, context_ = context, watch_ = &watch;
    processor_ = current_processor();
    begin_ = now(), waited_ = 0;
    alone_.store(false, std::memory_order_relaxed);
    __atomic_store_n(&beat_, 0, __ATOMIC_RELAXED);
    there_[0].store(true, std::memory_order_relaxed);
    stress_point();
    const auto call = static_cast<std::uint32_t>(door_.load(std::memory_order_relaxed) >> 32) + 1;
    door_.store(std::uint64_t{call} << 32, std::memory_order_release);
    return call;
}

void Crew::lead() {
    const bool finished = run(0) == Outcome::finished;
    if (!close() || !finished) throw Stopped{};
    if (!alone_.load(std::memory_order_relaxed)) break_ /= 2;
}

bool Crew::close() {
    bool goes = true;
    stress_point();
    door_.fetch_or(kClosed, std::memory_order_acq_rel);
    for (long long spins = 0; (door_.load(std::memory_order_acquire) & kInside) != 0; ++spins) {
        relax(spins);
        goes = goes && goes_on(*watch_);
    }
    return goes;
}

void Crew::serve(std::uint32_t call, int thread) {
    while (join(call, thread)) {
        leave_processor(processor_);
        const Outcome outcome = run(thread);
        const long long seen = __atomic_load_n(&beat_, __ATOMIC_RELAXED);
        there_[thread].store(false, std::memory_order_release);
        stress_point();
        door_.fetch_sub(1, std::memory_order_release);
        if (outcome != Outcome::left || !worth_coming_back(call, seen)) return;
    }
}

bool Crew::join(std::uint32_t call, int thread) {
    std::uint64_t door = door_.load(std::memory_order_relaxed);
    do {
        if (door >> 32 != call || (door & kClosed) != 0) return false;
    } while (!door_.compare_exchange_weak(door, door + 1, std::memory_order_acquire, std::memory_order_relaxed));
    stress_point();
    there_[thread].store(true, std::memory_order_release);
    return true;
}

// A member's way through the call.
Crew::Outcome Crew::run(int thread) {
    const FlushDenormals flush;
    Member member{thread, watch_, this, thread == 0 ? &beat_ : nullptr};
    try {
        task_(context_, member);
        return Outcome::finished;
    } catch (const Left&) {
        return Outcome::left;
    } catch (const Stopped&) {
        return Outcome::stopped;
    }
}

// Outside a call that it has left a thread waits until the caller has come further.
bool Crew::worth_coming_back(std::uint32_t call, long long seen) const {
    long long nap = kNap;
    for (long long turns = 0;; ++turns) {
        const std::uint64_t door = door_.load(std::memory_order_relaxed);
        if (door >> 32 != call || (door & kClosed) != 0) return false;
        if (__atomic_load_n(&beat_, __ATOMIC_RELAXED) != seen) return true;
        if (turns < kYields) {
            pause();
            std::this_thread::yield();
        } else {
            std::this_thread::sleep_for(std::chrono::nanoseconds(nap));
            nap = 2 * nap < kLongestNap ? 2 * nap : kLongestNap;
        }
    }
}

void Crew::turn(Member& member, Wait& wait) {
    look(watch_);
    pause();
    const long long turns = ++wait.turns;
    if (turns < kTimed) return;
    if (member.number > 0) {
        if (turns > kStays || alone_.load(std::memory_order_relaxed)) throw Left{};
        return;
    }
    if (turns == kTimed) wait.begin = now();
    if (turns <= kSpins) return;
    count_wait(wait, now());
    if (turns <= kSpins + kYields)
        std::this_thread::yield();
    else
        std::this_thread::sleep_for(std::chrono::nanoseconds(kNap));
}

void Crew::end_wait(const Member& member, const Wait& wait) {
    if (member.number > 0 || wait.turns < kTimed) return;
    const long long time = now();
    count_wait(wait, time);
    waited_ += time - wait.begin;
}

// Whether the caller has waited for longer than the others' work can have saved: half of the time. Then nobody joins
// any more, and who waits leaves.
void Crew::count_wait(const Wait& wait, long long time) {
    const long long waited = waited_ + time - wait.begin;
    if (waited < kTrial || 2 * waited < time - begin_ || alone_.load(std::memory_order_relaxed)) return;
    if (oversubscribed()) return;
    alone_.store(true, std::memory_order_relaxed);
    door_.fetch_or(kClosed, std::memory_order_relaxed);
    const long long longer = kBreakOfWaits * waited > 2 * break_ ? kBreakOfWaits * waited : 2 * break_;
    break_ = longer < kLongestBreak ? longer : kLongestBreak;
    break_end_ = time + break_;
}

bool is_there(const Member& member, int thread) { return member.crew->is_there(thread); }
void wait_turn(Member& member, Wait& wait) { member.crew->turn(member, wait); }
void end_wait(Member& member, Wait& wait) { member.crew->end_wait(member, wait); }

}  // namespace rnnkernels::cpu
