// The binary interface between XLA and a function that its programs call: the structs of XLA's typed FFI, API version
// 0.3, as far as xla_ffi.cpp reads or writes them, in our own words. So the package builds where jaxlib is not.
//
// XLA promises that a struct grows at its end alone and says its size. tests/test_jax.py compiles a comparison of every
// size, offset and value below with the header of the installed jaxlib; checked against jaxlib 0.5.0 to 0.10.2.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rnnkernels::xla {

inline constexpr int kApiMajor = 0;
inline constexpr int kApiMinor = 3;

// What may hang at any struct: a list.
inline constexpr int kMetadata = 1;
struct Extension {
    std::size_t size;
    int type;
    Extension* next;
};

struct Version {
    std::size_t size;
    Extension* extension;
    int major;
    int minor;
};

// Codes are those of absl::Status.
inline constexpr int kInvalidArgument = 3;
inline constexpr int kInternal = 13;
struct Error;
struct ErrorArguments {
    std::size_t size;
    Extension* extension;
    const char* message;
    int code;
};

// An error that XLA made: what it says, and giving it back.
struct ErrorMessageArguments {
    std::size_t size;
    Extension* extension;
    Error* error;
    const char* message;  // XLA's answer
};
struct ErrorFreeArguments {
    std::size_t size;
    Extension* extension;
    Error* error;
};

// What a call runs in; opaque. Of a GPU: a stream, and memory in its order.
struct Context;
struct StreamArguments {
    std::size_t size;
    Extension* extension;
    Context* context;
    void* stream;  // XLA's answer
};
inline constexpr std::size_t kMemoryAlignment = 16;  // the most that XLA takes
struct MemoryArguments {
    std::size_t size;
    Extension* extension;
    Context* context;
    std::size_t bytes;
    std::size_t alignment;
    void* data;  // XLA's answer
};
struct MemoryFreeArguments {
    std::size_t size;
    Extension* extension;
    Context* context;
    std::size_t bytes;
    void* data;
};

// What XLA offers; more members follow.
struct Api {
    std::size_t size;
    Extension* extension;
    Version version;
    const void* internal;
    Error* (*create_error)(ErrorArguments*);
    void (*error_message)(ErrorMessageArguments*);
    void (*free_error)(ErrorFreeArguments*);
    const void* handler_register;
    Error* (*get_stream)(StreamArguments*);
    const void* unread[4];  // types, an execution's contexts and states
    Error* (*take_memory)(MemoryArguments*);
    Error* (*free_memory)(MemoryFreeArguments*);
};

inline constexpr int kS32 = 4, kS64 = 5, kU8 = 6, kF16 = 10, kF32 = 11, kF64 = 12, kBf16 = 16;

// An array: dense, the last dimension fastest.
inline constexpr int kBuffer = 1;
struct Buffer {
    std::size_t size;
    Extension* extension;
    int dtype;
    void* data;
    std::int64_t rank;
    std::int64_t* dims;  // (rank)
};

struct Text {
    const char* data;
    std::size_t length;
};

struct Scalar {
    int dtype;
    void* value;
};

// Arguments, and results: buffers to fill.
struct Buffers {
    std::size_t size;
    Extension* extension;
    std::int64_t count;
    int* types;    // (count): kBuffer
    void** items;  // (count): Buffer*
};

inline constexpr int kScalar = 3, kText = 4;
struct Attributes {
    std::size_t size;
    Extension* extension;
    std::int64_t count;
    int* types;    // (count): kScalar, kText
    Text** names;  // (count)
    void** items;  // (count): Scalar*, Text*
};

inline constexpr int kExecute = 3;
struct Frame {
    std::size_t size;
    Extension* extension;
    const Api* api;
    Context* context;
    int stage;
    Buffers arguments;
    Buffers results;
    Attributes attributes;
};

// With this extension at its frame the function is not called, but asked which API it was made for.
struct Metadata {
    std::size_t size;
    Version version;
    std::uint32_t traits;
};
struct MetadataExtension {
    Extension base;
    Metadata* metadata;
};

using Handler = Error*(Frame*);

}  // namespace rnnkernels::xla
