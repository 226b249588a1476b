// Views of a GPU's memory; see array.h. Whoever owns the memory (PyTorch, CuPy, this package for NumPy's arrays)
// describes it as a View and gives fresh memory through the Place of a call: this side allocates nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "array.h"

namespace rnnkernels::binding {

// C-contiguous memory of a device. The owner lives as long as the view.
class View {
public:
    View() = default;
    View(std::uintptr_t pointer, Dims shape, std::string dtype, int device, py::object owner);

    int ndim() const { return static_cast<int>(shape_.size()); }
    Index shape(int axis) const { return shape_[static_cast<std::size_t>(axis)]; }
    const Dims& dims() const { return shape_; }
    Index size() const;
    Index nbytes() const { return size() * item_; }
    const void* data() const { return reinterpret_cast<const void*>(pointer_); }
    void* mutable_data() const { return reinterpret_cast<void*>(pointer_); }
    std::uintptr_t pointer() const { return pointer_; }
    const std::string& dtype() const { return dtype_; }
    int device() const { return device_; }
    const py::object& owner() const { return owner_; }

private:
    std::uintptr_t pointer_ = 0;
    Dims shape_;
    std::string dtype_;
    Index item_ = 0;
    int device_ = 0;
    py::object owner_;
};

using Array = View;

inline constexpr bool kDeviceArrays = true;
inline constexpr Dtype kDtypes[] = {Dtype::float32, Dtype::float64, Dtype::bfloat16, Dtype::float16};

class Gathered;

// Where a call runs: a device, a stream of it, and `allocate(shape, dtype name)`, which returns a View of fresh memory
// there.
class Place {
public:
    Place() = default;
    Place(int device, std::uintptr_t stream, py::object allocate, bool tf32, std::shared_ptr<Gathered> gathered)
        : device_(device),
          stream_(stream),
          tf32_(tf32),
          allocate_(std::move(allocate)),
          gathered_(std::move(gathered)) {}

    Where where() const { return {device_, reinterpret_cast<void*>(stream_), nullptr, 0, tf32_}; }
    int device() const { return device_; }
    View allocate(const Dims& shape, const char* dtype) const;
    // Where calls wait to be put with others; null: each is put at once.
    Gathered* gathered() const { return gathered_.get(); }

private:
    int device_ = 0;
    std::uintptr_t stream_ = 0;
    bool tf32_ = false;
    py::object allocate_;
    std::shared_ptr<Gathered> gathered_;
};

Dims shape_of(const View& view);
bool is_dtype(const View& view, Dtype dtype);
bool holds_tokens(const View& view);
bool in_order(const View& view);
std::string dtype_text(const View& view);
inline py::object as_object(View view) { return py::cast(std::move(view)); }
// Raises where an array is not where the call runs.
void check_place(const Place& place, const View& view, const char* name);
View fresh(const Place& place, Dtype dtype, const Dims& shape);
// Its zeros are put into the place's stream.
View fresh_zeros(const Place& place, Dtype dtype, const Dims& shape);
// int64, -1 all over.
View fresh_places(const Place& place, const Dims& shape);

// What a forward kept for its backward, in memory of the place. Every kernel lays it out alike, so that its bytes are
// all there is to it.
class Reserve {
public:
    Reserve() = default;  // empty, until it takes memory
    explicit Reserve(View bytes);

    void take(const Place& place, int set, Index bytes);

    int set() const { return set_; }
    std::size_t bytes() const { return static_cast<std::size_t>(bytes_.nbytes()); }
    void* data() { return bytes_.mutable_data(); }
    const void* data() const { return bytes_.data(); }
    const View& view() const { return bytes_; }

private:
    int set_ = 0;
    View bytes_;
};

void bind_device_array(py::module_& m);

}  // namespace rnnkernels::binding
