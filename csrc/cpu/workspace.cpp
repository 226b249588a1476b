// The arenas behind workspace.h: blocks that are kept between calls.
#include "workspace.h"

#include <atomic>
#include <cstring>
#include <iterator>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace rnnkernels::cpu {

namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kSmallestBlock = std::size_t{1} << 20;
// A kept arena above this is given back to the system after the call.
constexpr std::size_t kKept = std::size_t{256} << 20;

struct Free {
    void operator()(void* block) const { ::operator delete(block, std::align_val_t{kAlignment}); }
};

struct Block {
    std::unique_ptr<void, Free> memory;
    std::size_t size;
};

std::atomic<bool> poisoned{false};

}  // namespace

struct Arena {
    std::vector<Block> blocks;
    std::size_t used = 0;  // of the last block
    std::size_t smallest_block = kSmallestBlock;
    bool cleared = false;

    void* take(std::size_t size) {
        size = (size + kAlignment - 1) / kAlignment * kAlignment;
        if (blocks.empty() || blocks.back().size - used < size) {
            const std::size_t grown = size > smallest_block ? size : smallest_block;
            blocks.push_back({std::unique_ptr<void, Free>(::operator new(grown, std::align_val_t{kAlignment})), grown});
            used = 0;
        }
        void* piece = static_cast<char*>(blocks.back().memory.get()) + used;
        used += size;
        if (cleared) std::memset(piece, 0, size);
        if (poisoned) std::memset(piece, 0xff, size);
        return piece;
    }

    // Ready for the next call: all in one block, so that a repeated call finds its memory warm.
    void reset() noexcept {
        used = 0;
        if (blocks.size() > 1) {
            std::size_t total = 0;
            for (const Block& block : blocks) total += block.size;
            blocks.clear();
            if (total > kKept) return;
            try {
                blocks.push_back(
                    {std::unique_ptr<void, Free>(::operator new(total, std::align_val_t{kAlignment})), total});
            } catch (const std::bad_alloc&) {
                blocks.clear();
            }
        } else if (!blocks.empty() && blocks.back().size > kKept) {
            blocks.clear();
        }
    }
};

namespace {

// What no call is using. Never destroyed: a worker may outlive static destructors.
struct Idle {
    std::mutex mutex;
    std::vector<Arena*> arenas;
    std::vector<Block> blocks;  // given back by give_block, oldest first
};

Idle& idle() {
    static Idle* const instance = [] {
#if !defined(_WIN32)
        // A fork must not catch the mutex locked by a thread that the child does not have.
        pthread_atfork([] { idle().mutex.lock(); }, [] { idle().mutex.unlock(); }, [] { idle().mutex.unlock(); });
#endif
        return new Idle;
    }();
    return *instance;
}

}  // namespace

Workspace::Workspace() : kept_(true) {
    Idle& shelf = idle();
    const std::lock_guard<std::mutex> lock(shelf.mutex);
    if (shelf.arenas.empty()) {
        shelf.arenas.reserve(shelf.arenas.capacity() + 1);  // so that the destructor's push_back cannot throw
        arena_ = new Arena;
    } else {
        arena_ = shelf.arenas.back();
        shelf.arenas.pop_back();
    }
}

Workspace::Workspace(Fresh) : arena_(new Arena), kept_(false) {
    arena_->smallest_block = kAlignment;
    arena_->cleared = true;
}

Workspace::~Workspace() {
    if (!kept_) {
        delete arena_;
        return;
    }
    arena_->reset();
    Idle& shelf = idle();
    const std::lock_guard<std::mutex> lock(shelf.mutex);
    if (shelf.arenas.size() < shelf.arenas.capacity()) {
        shelf.arenas.push_back(arena_);
    } else {
        delete arena_;
    }
}

void* Workspace::take(long long count, std::size_t size) {
    std::size_t bytes = 0;
    if (count < 0 || __builtin_mul_overflow(static_cast<std::size_t>(count), size, &bytes) ||
        bytes > static_cast<std::size_t>(-1) / 4)
        throw std::bad_alloc();
    return arena_->take(bytes);
}

long long Workspace::bytes() const {
    std::size_t total = 0;
    for (const Block& block : arena_->blocks) total += block.size;
    return static_cast<long long>(total);
}

void Workspace::read(void* to) const {
    auto* at = static_cast<char*>(to);
    for (const Block& block : arena_->blocks) {
        std::memcpy(at, block.memory.get(), block.size);
        at += block.size;
    }
}

void Workspace::write(const void* from) {
    const auto* at = static_cast<const char*>(from);
    for (const Block& block : arena_->blocks) {
        std::memcpy(block.memory.get(), at, block.size);
        at += block.size;
    }
}

void* take_block(std::size_t size) {
    if (size >= kSmallestBlock) {
        Idle& shelf = idle();
        const std::lock_guard<std::mutex> lock(shelf.mutex);
        for (auto block = shelf.blocks.rbegin(); block != shelf.blocks.rend(); ++block)
            if (block->size == size) {
                void* memory = block->memory.release();
                shelf.blocks.erase(std::next(block).base());
                return memory;
            }
    }
    return ::operator new(size, std::align_val_t{kAlignment});
}

void give_block(void* memory, std::size_t size) noexcept {
    Block block{std::unique_ptr<void, Free>(memory), size};
    if (memory == nullptr || size < kSmallestBlock || size > kKept) return;
    Idle& shelf = idle();
    const std::lock_guard<std::mutex> lock(shelf.mutex);
    std::size_t total = size;
    for (const Block& other : shelf.blocks) total += other.size;
    auto& blocks = shelf.blocks;
    while (total > kKept && !blocks.empty()) {
        total -= blocks.front().size;
        blocks.erase(blocks.begin());
    }
    try {
        blocks.push_back(std::move(block));
    } catch (const std::bad_alloc&) {
        // not kept, then
    }
}

void set_poison(bool poison) { poisoned = poison; }
bool poison() { return poisoned; }

}  // namespace rnnkernels::cpu
