// The machine's limits, measured: multiply-adds from registers and the first cache, and reading, per working set.
//
// Compiled by roofline.py once per instruction set, with RNNKERNELS_PROBE_BYTES the bytes of its registers. It shares
// no code with the kernels, so that what they are measured by does not change when they do.
//
//   probe THREADS SECONDS      prints one line of JSON: GFLOP/s and GB/s of all threads together, the best of
//                              several rounds of SECONDS each

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <thread>
#include <vector>

namespace {

constexpr int kBytes = RNNKERNELS_PROBE_BYTES;
constexpr int kRounds = 20;  // short ones: others may share the machine, and the best round is kept
constexpr int kDepth = 96;   // of a tile: 6 rows and 4 registers of it fit the first cache

template <class T>
struct Register {
    typedef T Type __attribute__((vector_size(kBytes)));
    static constexpr int kLanes = kBytes / sizeof(T);
};

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// Runs make() in every thread for its work (a function of a number of repetitions), then times that work in all
// threads at once. Returns repetitions per second of one thread, the best round.
template <class Make>
double rate(int threads, double seconds, Make make) {
    std::atomic<int> arrived{0};
    std::atomic<long> repetitions{1};
    std::vector<double> times(static_cast<std::size_t>(threads));
    double best = 0;
    auto meet = [&](int& phase) {
        ++phase;
        arrived.fetch_add(1);
        while (arrived.load() < phase * threads) {
            if (threads > 1) std::this_thread::yield();
        }
    };
    auto run = [&](int thread) {
        auto work = make(thread);
        int phase = 0;
        work(1);
        if (thread == 0) {  // how many repetitions fill the time
            for (long n = 1;; n *= 2) {
                auto begin = Clock::now();
                work(n);
                double took = seconds_since(begin);
                if (took > seconds / 4) {
                    repetitions = std::max(1L, static_cast<long>(static_cast<double>(n) * seconds / took));
                    break;
                }
            }
        }
        for (int round = 0; round < kRounds; ++round) {
            meet(phase);
            auto begin = Clock::now();
            work(repetitions.load());
            times[static_cast<std::size_t>(thread)] = seconds_since(begin);
            meet(phase);
            if (thread == 0) {
                double slowest = *std::max_element(times.begin(), times.end());
                best = std::max(best, static_cast<double>(repetitions.load()) / slowest);
            }
        }
    };
    std::vector<std::thread> pool;
    for (int t = 1; t < threads; ++t) pool.emplace_back(run, t);
    run(0);
    for (auto& thread : pool) thread.join();
    return best;
}

struct Free {
    void operator()(void* memory) const { std::free(memory); }
};
template <class T>
using Buffer = std::unique_ptr<T[], Free>;

template <class T>
Buffer<T> buffer(std::size_t count) {
    std::size_t bytes = (count * sizeof(T) + 4095) / 4096 * 4096;
    void* memory = std::aligned_alloc(4096, bytes);
    if (memory == nullptr) throw std::bad_alloc();
    T* values = static_cast<T*>(memory);
    std::fill(values, values + bytes / sizeof(T), T(0));  // sums stay normal numbers
    return Buffer<T>(values);
}

// One product of Rows rows with Vectors registers' columns: what the inside of a matrix product is.
template <class T, int Rows, int Vectors>
__attribute__((noinline)) void tile(const T* rows, const T* columns, T* out) {
    using V = typename Register<T>::Type;
    V sum[Rows][Vectors] = {};
    const V* column = reinterpret_cast<const V*>(columns);
    for (int k = 0; k < kDepth; ++k) {
        V loaded[Vectors];
#pragma GCC unroll 8
        for (int v = 0; v < Vectors; ++v) loaded[v] = column[k * Vectors + v];
#pragma GCC unroll 16
        for (int r = 0; r < Rows; ++r) {
            V row = rows[r * kDepth + k] - V{};  // in every lane
#pragma GCC unroll 8
            for (int v = 0; v < Vectors; ++v) sum[r][v] += row * loaded[v];
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < Vectors; ++v) reinterpret_cast<V*>(out)[r * Vectors + v] = sum[r][v];
    }
}

template <class T, int Rows, int Vectors>
double tile_gflops(int threads, double seconds) {
    auto make = [](int) {
        constexpr std::size_t kWidth = static_cast<std::size_t>(Vectors) * Register<T>::kLanes;
        auto rows = std::shared_ptr<T[]>(buffer<T>(Rows * kDepth));
        auto columns = std::shared_ptr<T[]>(buffer<T>(kDepth * kWidth));
        auto out = std::shared_ptr<T[]>(buffer<T>(Rows * kWidth));
        return [rows, columns, out](long n) {
            for (long i = 0; i < n; ++i) {
                tile<T, Rows, Vectors>(rows.get(), columns.get(), out.get());
                asm volatile("" ::: "memory");
            }
        };
    };
    return rate(threads, seconds, make) * threads * 2e-9 * kDepth * Rows * Vectors * Register<T>::kLanes;
}

template <class T>
double best_gflops(int threads, double seconds) {
    if constexpr (kBytes == 64) {  // 32 registers
        return std::max(tile_gflops<T, 6, 4>(threads, seconds), tile_gflops<T, 12, 2>(threads, seconds));
    } else if constexpr (kBytes == 32) {  // 16 registers
        return std::max(tile_gflops<T, 6, 2>(threads, seconds), tile_gflops<T, 4, 3>(threads, seconds));
    } else {  // NEON: 32 registers
        return std::max(tile_gflops<T, 6, 4>(threads, seconds), tile_gflops<T, 8, 3>(threads, seconds));
    }
}

// Reading `bytes`, shared out among the threads, each thread its part again and again.
double read_gbytes(int threads, double seconds, std::size_t bytes) {
    using V = Register<float>::Type;
    constexpr std::size_t kStreams = 8;
    std::size_t blocks = bytes / static_cast<std::size_t>(threads) / (kStreams * kBytes);
    auto make = [blocks](int) {
        auto memory = std::shared_ptr<float[]>(buffer<float>(blocks * kStreams * Register<float>::kLanes));
        return [memory, blocks](long n) {
            for (long i = 0; i < n; ++i) {
                const V* from = reinterpret_cast<const V*>(memory.get());
                V sum[kStreams] = {};
                for (std::size_t block = 0; block < blocks; ++block, from += kStreams) {
#pragma GCC unroll 8
                    for (std::size_t s = 0; s < kStreams; ++s) sum[s] += from[s];
                }
                V total = sum[0];
#pragma GCC unroll 8
                for (std::size_t s = 1; s < kStreams; ++s) total += sum[s];
                asm volatile("" ::"m"(total));  // the compiler may not leave the reading out
            }
        };
    };
    double read = static_cast<double>(blocks * kStreams * kBytes) * threads;
    return rate(threads, seconds, make) * read * 1e-9;
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 3) {
        std::fprintf(stderr, "usage: probe THREADS SECONDS\n");
        return 2;
    }
    int threads = std::max(1, std::atoi(arguments[1]));
    double seconds = std::atof(arguments[2]);
    std::printf("{\"float32\": %.4g, \"float64\": %.4g, \"bandwidth\": [", best_gflops<float>(threads, seconds),
                best_gflops<double>(threads, seconds));
    const char* separator = "";
    for (std::size_t bytes = 16 << 10; bytes <= 64 << 20; bytes *= 2) {
        std::printf("%s[%zu, %.4g]", separator, bytes, read_gbytes(threads, seconds, bytes));
        separator = ", ";
    }
    std::printf("]}\n");
}
