// The arrays and attributes of a call from XLA: each taken in its turn, once its shape and type are known to be those
// expected. No Python here.
#pragma once

#include <stdexcept>
#include <string>

#include "xla_memory.h"

namespace rnnkernels::binding {

inline constexpr std::uintptr_t kXlaAlignment = 64;  // of a reserve

// In the place of a null pointer to an empty array: the kernels take null as "there is none".
alignas(kXlaAlignment) inline char empty_array[kXlaAlignment];

inline std::string text_of(const Dims& shape) {
    std::string text = "(";
    for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + (shape.size() == 1 ? ",)" : ")");
}

inline Dims dims_of(const xla::Buffer& buffer) { return Dims(buffer.dims, buffer.dims + buffer.rank); }

inline int code_of(Dtype dtype) {
    static constexpr int codes[] = {xla::kF32, xla::kF64, xla::kBf16, xla::kF16};
    return codes[static_cast<int>(dtype)];
}

// One of kDtypes.
inline Dtype dtype_of(const xla::Buffer& buffer, const char* name) {
    std::string known;
    for (const Dtype dtype : kDtypes) {
        if (buffer.dtype == code_of(dtype)) return dtype;
        known += (known.empty() ? "" : " or ") + std::string(name_of(dtype));
    }
    throw std::logic_error(std::string(name) + ": expected dtype " + known + ", got XLA's type " +
                           std::to_string(buffer.dtype));
}

inline std::size_t number_bytes(int code) { return code == xla::kF64 ? 8 : code == xla::kF32 ? 4 : 2; }

// The buffers of a call, one after the other.
class XlaReader {
public:
    XlaReader(XlaMemory& memory, const xla::Buffers& buffers, const char* what)
        : memory_(memory), buffers_(buffers), what_(what) {}

    bool more() const { return next_ < buffers_.count; }
    const xla::Buffer& peek() const {
        if (!more() || buffers_.types[next_] != xla::kBuffer)
            throw std::logic_error(std::string(what_) + ": expected more buffers than " +
                                   std::to_string(buffers_.count));
        return *static_cast<const xla::Buffer*>(buffers_.items[next_]);
    }
    void* take(const char* name, int dtype, const Dims& shape) {
        const xla::Buffer& found = peek();
        if (found.dtype != dtype || dims_of(found) != shape)
            throw std::logic_error(std::string(what_) + " " + name + ": expected shape " + text_of(shape) +
                                   " of type " + std::to_string(dtype) + ", got " + text_of(dims_of(found)) + " of " +
                                   std::to_string(found.dtype));
        if (reinterpret_cast<std::uintptr_t>(found.data) % kXlaArrayAlignment != 0)
            throw std::logic_error(std::string(what_) + " " + name + ": expected memory aligned to " +
                                   std::to_string(kXlaArrayAlignment) + " bytes, XLA gave other");
        ++next_;
        return found.data ? found.data : empty_array;
    }
    // A result, which tests fill with NaN beforehand.
    void* fill(const char* name, int dtype, const Dims& shape) {
        void* data = take(name, dtype, shape);
        if (backend().poison()) memory_.fill(data, 0xff, bytes_of(dtype, shape));
        return data;
    }
    void* take_reserve(Index needed) {
        const xla::Buffer& found = peek();
        if (found.dtype != xla::kU8 || found.rank != 1 || found.dims[0] < needed)
            throw std::logic_error(std::string(what_) + " reserve: expected " + std::to_string(needed) +
                                   " bytes, got shape " + text_of(dims_of(found)));
        ++next_;
        void* data = found.data ? found.data : empty_array;
        if (reinterpret_cast<std::uintptr_t>(data) % kXlaAlignment != 0)
            throw std::logic_error(std::string(what_) + " reserve: expected memory aligned to " +
                                   std::to_string(kXlaAlignment) + " bytes, XLA gave other");
        return data;
    }
    void end() const {
        if (more()) throw std::logic_error(std::string(what_) + ": more buffers than expected");
    }
    static std::size_t bytes_of(int dtype, const Dims& shape) {
        std::size_t bytes = number_bytes(dtype);
        for (const Index size : shape) bytes *= static_cast<std::size_t>(size);
        return bytes;
    }

private:
    XlaMemory& memory_;
    const xla::Buffers& buffers_;
    const char* what_;
    std::int64_t next_ = 0;
};

inline const void* attribute(const xla::Frame& frame, const char* name, int type) {
    const xla::Attributes& all = frame.attributes;
    for (std::int64_t k = 0; k < all.count; ++k)
        if (all.types[k] == type && std::string(all.names[k]->data, all.names[k]->length) == name) return all.items[k];
    throw std::logic_error(std::string("attribute ") + name + ": expected one, got none");
}

inline std::string text_attribute(const xla::Frame& frame, const char* name) {
    const auto& text = *static_cast<const xla::Text*>(attribute(frame, name, xla::kText));
    return {text.data, text.length};
}

}  // namespace rnnkernels::binding
