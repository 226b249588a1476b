// stress_threads: random calls beside others, cut off and forked away, without Python. `./check threads` runs it.
//
//   stress_threads [--seconds N] [--seed S] [--forks N] [--work N] [--what calls,callers,stop,fork,signals]
//
//   calls    on 2 to 8 threads, again and again
//   callers  several at once: one has the pool, the others run alone; the number of threads changes meanwhile
//   stop     through the watch, at a random moment, or asked and gone on with; in the question another call is made;
//            now and then a worker with a piece of the call waits for the answer
//   fork     in mid-call of other threads, and of the forking one; the child makes a call on several threads
//   signals  a storm of SIGALRM to every thread, whose handler lets no system call go on, while all of the above
//
// A round is one of them with calls of its own (random_call.h), and follows from its seed but for who runs when. A
// wrong bit, a child that fails and a minute in which nothing moves end the program with status 1, a sentence, and what
// repeats the round: --seconds 0 is one round of each. --forks N goes on until there were N of them. With the presets
// `tsan` and `stress` threads are put to sleep wherever they meet (csrc/cpu/stress_point.h).
#include <dirent.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "cpu/stress_point.h"
#include "random_call.h"

namespace native {
namespace {

using rnnkernels::Watch;
using std::chrono::microseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr auto kHang = seconds(60);

// Which round this is, for the sentence of a failure.
struct Where {
    std::atomic<const char*> what{"nothing"};
    std::atomic<std::uint64_t> seed{0};
    std::atomic<long long> checked{0};  // calls; how the watchdog sees that things move
    std::atomic<long long> stopped{0}, forked{0}, divided{0};
};
Where here;

// A call was checked. Relaxed: no thread is to see through this what it would miss without.
void moved() { here.checked.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

// May be called by any thread, and in a child: what others do is not waited for.
void fail(const char* format, ...) {
    char sentence[1024];
    std::va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    std::fprintf(stderr, "\nstress_threads: %s\nagain: --what %s --seed %llu --seconds 0\n", sentence, here.what.load(),
                 static_cast<unsigned long long>(here.seed.load()));
    std::fflush(stderr);
    _exit(1);
}

namespace {

void start_watchdog() {
    std::thread([] {
        long long seen = -1;
        for (auto since = steady_clock::now();;) {
            std::this_thread::sleep_for(seconds(1));
            const long long now = here.checked.load();
            if (now != seen) since = steady_clock::now();
            seen = now;
            if (steady_clock::now() - since > kHang) fail("nothing moved for %d s", static_cast<int>(kHang.count()));
        }
    }).detach();
}

void nap(Random& random, Index most_us) { std::this_thread::sleep_for(microseconds(between(random, 0, most_us))); }

// ---- a round: calls and their answers ----------------------------------------------------------

struct Case {
    std::unique_ptr<RandomCall> call;
    Index us;  // that it takes on one thread

    void check(Watch* watch = nullptr) const {
        call->repeat(watch);
        moved();
    }
};

struct Round {
    Random& random;
    std::vector<Case> cases;

    const Case& any(Random& by) const { return cases[by.next() % cases.size()]; }
};

Round draw_round(Random& random, Index most_work) {
    Round round{random, {}};
    for (int i = 0; i < 3; ++i) {
        round.cases.push_back({draw_call(random, most_work), 0});
        Case& drawn = round.cases.back();
        const auto begin = steady_clock::now();
        drawn.call->answer();
        drawn.us = std::chrono::duration_cast<microseconds>(steady_clock::now() - begin).count();
        moved();
        here.divided += drawn.call->divided(2);
    }
    return round;
}

void set_threads(Random& random) { backend().set_num_threads(static_cast<int>(between(random, 2, 8))); }

void check_calls(Round& round) {
    for (const Case& drawn : round.cases)
        for (int i = 0; i < 2; ++i) {
            set_threads(round.random);
            drawn.check();
        }
}

// Threads that each run `body(random)`, until they are joined.
class Threads {
public:
    Threads(Random& random, Index count, const std::function<void(Random&)>& body) {
        for (Index i = 0; i < count; ++i)
            threads_.emplace_back([body, seed = random.next()] {
                Random mine(seed);
                body(mine);
            });
    }
    ~Threads() { join(); }
    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;
    void join() {
        for (std::thread& thread : threads_) thread.join();
        threads_.clear();
    }

private:
    std::vector<std::thread> threads_;
};

void check_callers(Round& round) {
    set_threads(round.random);
    Threads callers(round.random, between(round.random, 2, 4), [&](Random& random) {
        for (int i = 0; i < 4; ++i) {
            if (once_in(random, 4)) set_threads(random);
            round.any(random).check();
        }
    });
}

// ---- calls that are stopped --------------------------------------------------------------------

// The call that runs, as those who ask see it.
struct Asked {
    std::mutex mutex;
    Watch* watch = nullptr;
    std::atomic<bool> by_a_worker{false};  // the next one with a piece of the call asks, too

    void ask() {
        const std::lock_guard<std::mutex> lock(mutex);
        int run = Watch::kRun;
        if (watch)
            __atomic_compare_exchange_n(&watch->flag, &run, static_cast<int>(Watch::kAsk), false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED);
    }
    void watched(Watch* next) {
        const std::lock_guard<std::mutex> lock(mutex);
        watch = next;
    }
};
Asked asked;

const std::thread::id main_thread = std::this_thread::get_id();  // whose calls are asked

// A worker with a piece of work asks, and gets on when it has an answer: as if it had no processor for so long. The
// call's own thread comes to wait for the piece, and must answer where it waits.
void ask_with_a_piece(Watch* watch) {
    // Some calls are not watched: elements dropped, weights prepared.
    if (std::this_thread::get_id() == main_thread || !watch->go_on || !asked.by_a_worker.exchange(false)) return;
    for (int i = 0; i < 3; ++i) {
        std::this_thread::sleep_for(microseconds(300));
        asked.ask();
        while (__atomic_load_n(&watch->flag, __ATOMIC_RELAXED) == Watch::kAsk)
            std::this_thread::sleep_for(microseconds(50));
    }
}

// What is done where a call is asked whether it goes on.
struct Question {
    const Round& round;
    Random& random;
    const std::function<void(Random&)>* meanwhile;

    static bool answer(void* context) {
        const auto& [round, random, meanwhile] = *static_cast<Question*>(context);
        if (once_in(random, 4)) round.any(random).check();
        if (meanwhile) (*meanwhile)(random);
        return once_in(random, 2);
    }
};

// Each case, asked by two threads, then each once more; `meanwhile` is run in questions, or null.
void stop_calls(const Round& round, Random& random, const std::function<void(Random&)>* meanwhile) {
    std::atomic<bool> over{false};
    Index longest = 0;
    for (const Case& drawn : round.cases) longest = drawn.us > longest ? drawn.us : longest;
    Threads askers(random, 2, [&](Random& mine) {
        while (!over.load()) {
            nap(mine, longest);
            asked.ask();
        }
    });
    for (const Case& drawn : round.cases) {
        set_threads(random);
        Question question{round, random, meanwhile};
        Watch watch;
        watch.go_on = Question::answer;
        watch.context = &question;
        asked.watched(&watch);
        asked.by_a_worker = once_in(random, 4);
        try {
            drawn.check(&watch);
        } catch (const rnnkernels::Stopped&) {
            ++here.stopped;
        }
        asked.by_a_worker = false;
        asked.watched(nullptr);
        drawn.check();
    }
    over.store(true);
}

void check_stop(Round& round) { stop_calls(round, round.random, nullptr); }

// ---- forks -------------------------------------------------------------------------------------

#if defined(__SANITIZE_THREAD__)
constexpr Index kLeastInChild = 1, kMostInChild = 1;  // ThreadSanitizer's runtime ends a child that starts a thread
#else
constexpr Index kLeastInChild = 2, kMostInChild = 8;
#endif

// A child that makes one call, and its end.
void check_fork(const Case& drawn, Random& random) {
    const Index threads = between(random, kLeastInChild, kMostInChild);
    const pid_t child = fork();
    if (child < 0) fail("fork: errno %d", errno);
    if (child == 0) {
        asked.by_a_worker = false;  // its mutex may have come along, held by another thread
        backend().set_num_threads(static_cast<int>(threads));
        drawn.check();
        _exit(0);
    }
    ++here.forked;
    int status = 0;
    const auto begin = steady_clock::now();
    for (pid_t ended = 0; ended == 0;) {
        ended = waitpid(child, &status, WNOHANG);
        if (ended < 0 && errno == EINTR) ended = 0;
        if (ended < 0) fail("waitpid: errno %d", errno);
        if (ended > 0) break;
        if (steady_clock::now() - begin > kHang) {
            kill(child, SIGKILL);
            fail("the child of a fork did not end; its call: %s", drawn.call->text().c_str());
        }
        std::this_thread::sleep_for(microseconds(100));
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail("the child of a fork ended with status %#x; its call: %s", static_cast<unsigned>(status),
             drawn.call->text().c_str());
    moved();
}

void check_forks(Round& round) {
    set_threads(round.random);
    std::atomic<bool> over{false};
    Threads callers(round.random, between(round.random, 1, 2), [&](Random& random) {
        while (!over.load()) round.any(random).check();
    });
    for (Index i = between(round.random, 1, 16); i > 0; --i) {
        nap(round.random, 2000);
        check_fork(round.any(round.random), round.random);
    }
    over.store(true);
    callers.join();
    const std::function<void(Random&)> in_a_question = [&](Random& random) { check_fork(round.any(random), random); };
    stop_calls(round, round.random, &in_a_question);
}

// ---- signals -----------------------------------------------------------------------------------

std::atomic<long long> signals{0};

void hear(int) {
    const int kept = errno;
    signals.fetch_add(1, std::memory_order_relaxed);
    errno = kept;
}

// One to every thread there is, the pool's too; on systems that do not list them, to the process.
void signal_everyone() {
#if defined(__linux__)
    DIR* const tasks = opendir("/proc/self/task");
    if (!tasks) fail("/proc/self/task: errno %d", errno);
    while (const dirent* task = readdir(tasks)) {
        const long id = std::strtol(task->d_name, nullptr, 10);
        if (id > 0) syscall(SYS_tgkill, getpid(), id, SIGALRM);
    }
    closedir(tasks);
#else
    kill(getpid(), SIGALRM);
#endif
}

void check_signals(Round& round) {
    std::atomic<bool> over{false};
    Threads storm(round.random, 1, [&](Random& random) {
        while (!over.load()) {
            nap(random, 1000);
            signal_everyone();
        }
    });
    check_calls(round);
    check_callers(round);
    check_stop(round);
    check_forks(round);
    over.store(true);
}

// ---- the command line --------------------------------------------------------------------------

struct What {
    const char* name;
    void (*check)(Round&);
};
constexpr What kWhat[] = {
    {"calls", check_calls}, {"callers", check_callers}, {"stop", check_stop},
    {"fork", check_forks},  {"signals", check_signals},
};

struct Asking {
    double seconds = 10;
    std::uint64_t seed = static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) >> 10U;
    long long forks = 0;
    Index work = 4'000'000;
    std::vector<What> what;
};

[[noreturn]] void refuse(const std::string& why) {
    std::fprintf(stderr,
                 "stress_threads: %s\nusage: stress_threads [--seconds N] [--seed S] [--forks N] [--work N] "
                 "[--what calls,callers,stop,fork,signals]\n",
                 why.c_str());
    std::exit(2);
}

void read_what(std::string names, std::vector<What>& what) {
    while (!names.empty()) {
        const std::string name = names.substr(0, names.find(','));
        names.erase(0, name.size() + 1);
        const std::size_t before = what.size();
        for (const What& known : kWhat)
            if (name == known.name) what.push_back(known);
        if (what.size() == before) refuse("--what: there is no '" + name + "'");
    }
}

Asking read_arguments(int count, char** arguments) {
    Asking asking;
    for (int i = 1; i < count; i += 2) {
        const std::string option = arguments[i];
        if (i + 1 == count) refuse(option + ": expected a value, got none");
        char* end = nullptr;
        const char* const value = arguments[i + 1];
        const double number = option == "--seed" || option == "--what" ? 0 : std::strtod(value, &end);
        if (option == "--what")
            read_what(value, asking.what);
        else if (option == "--seed")
            asking.seed = std::strtoull(value, &end, 10);
        else if (option == "--seconds")
            asking.seconds = number;
        else if (option == "--forks")
            asking.forks = static_cast<long long>(number);
        else if (option == "--work")
            asking.work = static_cast<Index>(number);
        else
            refuse("there is no option " + option);
        if (end && (end == value || *end != '\0' || !(number >= 0)))
            refuse(option + ": expected a number, 0 or more, got '" + value + "'");
    }
    if (asking.what.empty()) asking.what.assign(std::begin(kWhat), std::end(kWhat));
    return asking;
}

void listen_to_signals() {
    struct sigaction action{};
    action.sa_handler = hear;  // no SA_RESTART: what a signal interrupts must be able to bear it
    sigaction(SIGALRM, &action, nullptr);
}

}  // namespace
}  // namespace native

int main(int count, char** arguments) {
    using namespace native;
    const Asking asking = read_arguments(count, arguments);
    std::printf("seed %llu\n", static_cast<unsigned long long>(asking.seed));
    std::fflush(stdout);  // or every child would have it to print
    backend().set_poison(true);
    listen_to_signals();
    start_watchdog();
    rnnkernels::cpu::do_in_pieces(ask_with_a_piece);
    const auto begin = steady_clock::now();
    const auto goes_on = [&] {
        const std::chrono::duration<double> spent = steady_clock::now() - begin;
        return asking.forks > 0 ? here.forked < asking.forks : spent.count() < asking.seconds;
    };
    long long rounds = 0;
    do {
        for (const What& what : asking.what) {
            here.what = what.name;
            here.seed = asking.seed + static_cast<std::uint64_t>(rounds);
            Random random(here.seed);
            Round round = draw_round(random, asking.work);
            what.check(round);
        }
        ++rounds;
    } while (goes_on());
    std::printf("%lld rounds: %lld calls checked, %lld stopped, %lld forks, %lld signals, seeds to %llu: ok\n", rounds,
                here.checked.load(), here.stopped.load(), here.forked.load(), signals.load(),
                static_cast<unsigned long long>(here.seed.load()));
    if (rounds >= 20 && here.divided == 0) fail("no call was divided among threads: draw larger ones");
    return 0;
}
