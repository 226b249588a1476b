// The words of host_array.h.
#include "host_array.h"

#include <cstdint>
#include <cstring>
#include <utility>

namespace rnnkernels::binding {
namespace {

// isinstance<array_t<...>> says the same, in five times the time: a step is short.
bool holds(const py::array& array, char kind, std::size_t size) {
    const py::dtype dtype = array.dtype();
    return dtype.kind() == kind && static_cast<std::size_t>(dtype.itemsize()) == size && dtype.byteorder() == '=';
}

py::dtype dtype_object(Dtype dtype) {
    return dtype == Dtype::float32 ? py::dtype::of<float>() : py::dtype::of<double>();
}

}  // namespace

Dims shape_of(const py::array& array) { return Dims(array.shape(), array.shape() + array.ndim()); }

bool is_dtype(const py::array& array, Dtype dtype) {
    return holds(array, 'f', dtype == Dtype::float32 ? sizeof(float) : sizeof(double));
}

bool holds_tokens(const py::array& array) { return holds(array, 'i', sizeof(std::int64_t)); }

bool holds_bytes(const py::array& array) {
    const py::dtype dtype = array.dtype();  // one that was unpickled is another object than NumPy's own
    return dtype.kind() == 'u' && dtype.itemsize() == 1 && array.ndim() == 1 && in_order(array);
}

bool in_order(const py::array& array) {
    constexpr int wanted =
        static_cast<int>(py::array::c_style) | static_cast<int>(py::detail::npy_api::NPY_ARRAY_ALIGNED_);
    return (array.flags() & wanted) == wanted;
}

std::string dtype_text(const py::array& array) { return py::str(array.dtype()); }

py::array fresh(const Place&, Dtype dtype, const Dims& shape) {
    py::array array(dtype_object(dtype), shape);
    if (backend().poison() && array.nbytes() > 0)
        std::memset(array.mutable_data(), 0xff, static_cast<std::size_t>(array.nbytes()));
    return array;
}

py::array fresh_zeros(const Place&, Dtype dtype, const Dims& shape) {
    return py::module_::import("numpy").attr("zeros")(shape, dtype_object(dtype));
}

py::array fresh_places(const Place&, const Dims& shape) {
    py::array_t<std::int64_t> array(shape);
    if (array.nbytes() > 0) std::memset(array.mutable_data(), 0xff, static_cast<std::size_t>(array.nbytes()));
    return array;
}

Reserve::Reserve(Reserve&& other) noexcept
    : set_(other.set_),
      bytes_(other.bytes_),
      memory_(std::exchange(other.memory_, nullptr)),
      owner_(std::move(other.owner_)) {}

void Reserve::take(const Place&, int set, Index bytes) {
    set_ = set;
    bytes_ = static_cast<std::size_t>(bytes);
    memory_ = backend().take_memory(bytes_ + kBehind);
    if (backend().poison()) std::memset(memory_, 0xff, bytes_);
    std::memset(end(), 0, kBehind);
    std::memcpy(end(), &set_, sizeof set_);
}

Reserve::Reserve(py::array bytes) : owner_(std::move(bytes)) {
    auto array = py::reinterpret_borrow<py::array>(owner_);
    if (!holds_bytes(array) || !array.writeable())
        throw py::type_error("reserve: expected a writeable, contiguous array of uint8 (n,)");
    if (static_cast<std::size_t>(array.size()) < kBehind)
        throw py::value_error("reserve: expected at least " + std::to_string(kBehind) + " bytes, got " +
                              std::to_string(array.size()));
    memory_ = array.mutable_data();
    if (reinterpret_cast<std::uintptr_t>(memory_) % kBehind != 0)
        throw py::value_error("reserve: expected memory aligned to " + std::to_string(kBehind) + " bytes");
    bytes_ = static_cast<std::size_t>(array.size()) - kBehind;
    std::memcpy(&set_, end(), sizeof set_);
    if (set_ < 0 || set_ >= backend().set_count())
        throw py::value_error("reserve: expected the bytes of one that forward gave");
}

Reserve::~Reserve() {
    if (memory_ && !owner_) backend().give_memory(memory_, bytes_ + kBehind);
}

py::buffer_info Reserve::buffer() const {
    return {static_cast<std::uint8_t*>(memory_), static_cast<py::ssize_t>(bytes_ + kBehind)};
}

}  // namespace rnnkernels::binding
