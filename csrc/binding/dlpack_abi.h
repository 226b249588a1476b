// The binary interface by which array libraries hand tensors to each other from C: DLPack's structs, version 1, as far
// as tensor_view.h reads or writes them, in our own words. PyTorch has such a table from 2.10 on, as the attribute
// __dlpack_c_exchange_api__ of its class, so this module reads its tensors without being compiled or linked with it.
//
// DLPack promises that a struct changes with the major version alone. tests/torch/test_torch_steps.py compiles a
// comparison of every size, offset and value below with the header of the installed PyTorch.
#pragma once

#include <cstdint>

namespace rnnkernels::dlpack {

inline constexpr std::uint32_t kMajor = 1;
inline constexpr char kCapsule[] = "dlpack_exchange_api";

struct Version {
    std::uint32_t major;
    std::uint32_t minor;
};

inline constexpr std::int32_t kHost = 1;
struct Device {
    std::int32_t type;
    std::int32_t number;
};

inline constexpr std::uint8_t kFloat = 2;
struct Type {
    std::uint8_t code;
    std::uint8_t bits;
    std::uint16_t lanes;
};

struct Tensor {
    void* data;
    Device device;
    std::int32_t dimensions;
    Type type;
    std::int64_t* shape;
    std::int64_t* strides;  // in numbers
    std::uint64_t byte_offset;
};

struct ManagedTensor {
    Version version;
    void* manager;
    void (*deleter)(ManagedTensor*);
    std::uint64_t flags;
    Tensor tensor;
};

// A library's functions. Each returns 0, or something else once a Python error is set, but for `allocate`, which
// reports to `error`. The third of them takes what it is given.
struct Exchange {
    Version version;
    Exchange* older;
    int (*allocate)(Tensor* like, ManagedTensor** made, void* context,
                    void (*error)(void* context, const char* kind, const char* message));
    int (*own)(void* object, ManagedTensor** made);
    int (*as_object)(ManagedTensor* tensor, void** object);
    int (*look)(void* object, Tensor* seen);  // may be null
    int (*stream)(std::int32_t device_type, std::int32_t device_number, void** stream);
};

}  // namespace rnnkernels::dlpack
