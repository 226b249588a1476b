// PyTorch's tensors as pointers and shapes, read and made by the functions of its DLPack table (dlpack_abi.h).
#pragma once

#include <cstdint>
#include <utility>

#include "array.h"
#include "dlpack_abi.h"

namespace rnnkernels::binding {

// Numbers on the host, C-contiguous and aligned.
struct View {
    py::object tensor;  // whose memory it is
    char* data = nullptr;
    Dims shape;
};

// Tensors of one dtype.
class Tensors {
public:
    // `types` are torch.Tensor and torch.nn.Parameter: a subclass may stand for anything.
    Tensors(Dtype dtype, py::tuple types) : bytes_(dtype == Dtype::float32 ? 4 : 8), types_(std::move(types)) {
        if (types_.size() != 2) throw py::value_error("types: expected torch.Tensor and torch.nn.Parameter");
        const py::object table = types_[0].attr("__dlpack_c_exchange_api__");
        void* const exchange = PyCapsule_GetPointer(table.ptr(), dlpack::kCapsule);
        if (!exchange) throw py::error_already_set();
        exchange_ = static_cast<const dlpack::Exchange*>(exchange);
        if (exchange_->version.major != dlpack::kMajor || !exchange_->look)
            throw py::type_error("types: expected a table of DLPack 1 with all functions");
    }

    Index bytes() const { return bytes_; }  // of a number

    // False where it is no such tensor, or its memory is not to be read here.
    bool view(py::handle given, View& view) const {
        const auto* const type = reinterpret_cast<PyObject*>(Py_TYPE(given.ptr()));
        if (type != types_[0].ptr() && type != types_[1].ptr()) return false;
        view.tensor = py::reinterpret_borrow<py::object>(given);
        dlpack::Tensor seen;
        if (!look(view, seen)) return false;
        if (!in_order(seen)) {
            view.tensor = call(view.tensor, contiguous_);
            if (!view.tensor || !look(view, seen) || !in_order(seen)) return false;
        }
        // One that is_neg() has yet to be negated: its memory has other numbers.
        return call(view.tensor, is_neg_).ptr() == Py_False;
    }

    // How often a tensor was changed, as PyTorch counts; -1 where it does not, in inference mode say.
    Index version(const py::object& tensor) const {
        PyObject* const version = PyObject_GetAttr(tensor.ptr(), version_.ptr());
        if (!version) return nothing(), -1;
        const auto held = py::reinterpret_steal<py::object>(version);
        return PyLong_CheckExact(version) ? PyLong_AsSsize_t(version) : -1;
    }

    // A fresh tensor of the view's shape; false where there is none.
    bool make(View& view) const {
        dlpack::Tensor like{};
        like.device.type = dlpack::kHost;
        like.type = type();
        like.dimensions = static_cast<std::int32_t>(view.shape.size());
        like.shape = view.shape.data();
        dlpack::ManagedTensor* made = nullptr;
        if (exchange_->allocate(&like, &made, nullptr, [](void*, const char*, const char*) {}) != 0) return false;
        view.data = static_cast<char*>(made->tensor.data) + made->tensor.byte_offset;
        void* object = nullptr;
        if (exchange_->as_object(made, &object) != 0) return nothing();
        view.tensor = py::reinterpret_steal<py::object>(static_cast<PyObject*>(object));
        return true;
    }

private:
    dlpack::Type type() const { return {dlpack::kFloat, static_cast<std::uint8_t>(8 * bytes_), 1}; }

    // PyTorch raises where a tensor has no memory, say.
    static bool nothing() {
        PyErr_Clear();
        return false;
    }
    static py::object call(const py::object& tensor, const py::str& name) {
        PyObject* const result = PyObject_CallMethodNoArgs(tensor.ptr(), name.ptr());
        if (!result) nothing();
        return py::reinterpret_steal<py::object>(result);
    }

    bool look(View& view, dlpack::Tensor& seen) const {
        if (exchange_->look(view.tensor.ptr(), &seen) != 0) return nothing();
        const dlpack::Type wanted = type();
        if (seen.device.type != dlpack::kHost || seen.type.code != wanted.code || seen.type.bits != wanted.bits ||
            seen.type.lanes != wanted.lanes)
            return false;
        view.data = static_cast<char*>(seen.data) + seen.byte_offset;
        view.shape.assign(seen.shape, seen.shape + seen.dimensions);
        return seen.data && reinterpret_cast<std::uintptr_t>(view.data) % static_cast<std::size_t>(bytes_) == 0;
    }
    static bool in_order(const dlpack::Tensor& seen) {
        Index stride = 1;
        for (std::int32_t k = seen.dimensions; k-- > 0; stride *= seen.shape[k])
            if (seen.shape[k] != 1 && seen.strides && seen.strides[k] != stride) return false;
        return true;
    }

    Index bytes_;
    py::tuple types_;
    const dlpack::Exchange* exchange_;
    py::str contiguous_{"contiguous"}, is_neg_{"is_neg"}, version_{"_version"};
};

}  // namespace rnnkernels::binding
