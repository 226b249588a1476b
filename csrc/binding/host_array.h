// NumPy's arrays; see array.h.
#pragma once

#include "array.h"

namespace rnnkernels::binding {

using Array = py::array;

inline constexpr bool kDeviceArrays = false;
inline constexpr Dtype kDtypes[] = {Dtype::float32, Dtype::float64};

// There is one place: here.
struct Place {
    Where where() const { return {}; }
};

Dims shape_of(const py::array& array);
bool is_dtype(const py::array& array, Dtype dtype);
bool holds_tokens(const py::array& array);
// Whether it is uint8 (n,), to be read where it lies.
bool holds_bytes(const py::array& array);
// C-contiguous and aligned.
bool in_order(const py::array& array);
std::string dtype_text(const py::array& array);
inline py::object as_object(py::array array) { return array; }
// Raises where an array is not where the call runs.
inline void check_place(const Place&, const py::array&, const char*) {}

// A fresh array; NaN all over when tests ask for it.
py::array fresh(const Place& place, Dtype dtype, const Dims& shape);
py::array fresh_zeros(const Place& place, Dtype dtype, const Dims& shape);
// int64, -1 all over.
py::array fresh_places(const Place& place, const Dims& shape);

// What a forward kept for its backward: in memory of its own or, made again from its bytes, in an array's. Its layout
// is the instruction set's, whose number stands behind it.
class Reserve {
public:
    Reserve() = default;  // empty, until it takes memory
    Reserve(Reserve&& other) noexcept;
    explicit Reserve(py::array bytes);
    ~Reserve();
    Reserve& operator=(Reserve&&) = delete;

    void take(const Place& place, int set, Index bytes);

    int set() const { return set_; }
    std::size_t bytes() const { return bytes_; }
    void* data() { return memory_; }
    const void* data() const { return memory_; }
    py::buffer_info buffer() const;

private:
    static constexpr std::size_t kBehind = 64;  // bytes behind it; also its alignment
    std::byte* end() const { return static_cast<std::byte*>(memory_) + bytes_; }

    int set_ = 0;
    std::size_t bytes_ = 0;
    void* memory_ = nullptr;
    py::object owner_;
};

}  // namespace rnnkernels::binding
