// XLA's arrays on a GPU; see xla_memory.h. Kernels use them where they lie, and scratch memory is XLA's own.
//
// What the host has to see (tokens, lengths, resets, and the states of a ragged batch) is copied there, and the call
// waits for its stream. A dense batch of vectors waits for nothing.
#pragma once

#include <cstring>
#include <deque>
#include <stdexcept>
#include <string>
#include <vector>

#include "../device_table.h"
#include "arguments.h"
#include "xla_ffi_abi.h"

namespace rnnkernels::binding {

inline constexpr std::uintptr_t kXlaArrayAlignment = 16;  // as device_array.cpp asks for

class XlaMemory {
public:
    explicit XlaMemory(const xla::Frame& frame) : frame_(frame) {
        if (frame.api->size < sizeof(xla::Api)) throw std::logic_error("expected an XLA that gives streams and memory");
        xla::StreamArguments asked{sizeof asked, nullptr, frame.context, nullptr};
        check(frame.api->get_stream(&asked));
        stream_ = asked.stream;
        device_ = cuda::device_of(stream_);
    }
    // Memory goes back while its work may still be in the stream: XLA gives it to later work of the same stream.
    ~XlaMemory() {
        for (const Block& block : blocks_) {
            xla::MemoryFreeArguments given{sizeof given, nullptr, frame_.context, block.bytes, block.data};
            if (xla::Error* error = frame_.api->free_memory(&given)) free_error(error);
        }
    }
    XlaMemory(const XlaMemory&) = delete;
    XlaMemory& operator=(const XlaMemory&) = delete;

    Where where(bool tf32) const { return {device_, stream_, nullptr, 0, tf32}; }
    void give_workspace(Where& where, Index bytes) {
        if (bytes == 0) return;
        where.workspace = fresh(static_cast<std::size_t>(bytes));
        where.workspace_bytes = bytes;
    }

    void* fresh(std::size_t bytes) {
        const std::size_t with_edge = bytes + kScratchAlignment;
        xla::MemoryArguments asked{sizeof asked, nullptr, frame_.context, with_edge, xla::kMemoryAlignment, nullptr};
        check(frame_.api->take_memory(&asked));
        if (!asked.data)
            throw std::runtime_error("XLA: expected " + std::to_string(with_edge) +
                                     " bytes of scratch memory, got none");
        blocks_.push_back({asked.data, with_edge});
        const auto begin = reinterpret_cast<std::uintptr_t>(asked.data);
        void* data =
            static_cast<char*>(asked.data) + (kScratchAlignment - begin % kScratchAlignment) % kScratchAlignment;
        if (backend().poison()) fill(data, 0xff, bytes);
        return data;
    }
    const void* read(const void* array, std::size_t bytes) {
        if (!array) return nullptr;
        void* values = draft(nullptr, bytes);
        copy(array, values, bytes);
        return values;
    }
    void* put(const void* values, std::size_t bytes) {
        void* array = fresh(bytes);
        copy(values, array, bytes);
        return array;
    }
    void* draft(void*, std::size_t bytes) {
        on_host_.emplace_back(bytes + 1);
        return on_host_.back().data();
    }
    void publish(const void* values, void* result, std::size_t bytes) const { copy(values, result, bytes); }
    void fill(void* to, int value, std::size_t bytes) const {
        cuda::fill(stream_, to, value, static_cast<Index>(bytes));
    }

private:
    // Between the device and the host, either way; waits for it.
    void copy(const void* from, void* to, std::size_t bytes) const {
        if (bytes == 0) return;
        cuda::copy(device_, stream_, from, to, static_cast<Index>(bytes));
        cuda::wait(device_, stream_);
    }

    static constexpr std::size_t kScratchAlignment = 256;  // cuda/arena.h
    struct Block {
        void* data;
        std::size_t bytes;
    };

    void free_error(xla::Error* error) const {
        xla::ErrorFreeArguments given{sizeof given, nullptr, error};
        frame_.api->free_error(&given);
    }
    void check(xla::Error* error) const {
        if (!error) return;
        xla::ErrorMessageArguments asked{sizeof asked, nullptr, error, nullptr};
        frame_.api->error_message(&asked);
        const std::string text = std::string("XLA: ") + (asked.message ? asked.message : "an error without words");
        free_error(error);
        throw std::runtime_error(text);
    }

    const xla::Frame& frame_;
    void* stream_ = nullptr;
    int device_ = 0;
    std::vector<Block> blocks_;
    std::deque<std::vector<char>> on_host_;
};

inline constexpr const char* kXlaSet = "kernel";  // the attribute
inline int find_xla_set(const std::string& name) { return name == "auto" ? cuda::kAutomatic : find_set(name); }

}  // namespace rnnkernels::binding
