// The words of device_array.h.
#include "device_array.h"

#include "../device_table.h"
#include "gathered.h"

namespace rnnkernels::binding {
namespace {

Index item_size(const std::string& dtype) {
    if (dtype == "float64" || dtype == "int64") return 8;
    if (dtype == "float32") return 4;
    if (dtype == "bfloat16" || dtype == "float16") return 2;
    if (dtype == "uint8") return 1;
    throw py::type_error("view: expected dtype float32, float64, bfloat16, float16, int64 or uint8, got '" + dtype +
                         "'");
}

constexpr std::uintptr_t kAlignment = 16;  // what cuBLAS needs for its fastest kernels, and every allocator gives

void fill(const Place& place, const View& view, int value) {
    cuda::fill(place.where().stream, view.mutable_data(), value, view.nbytes());
}

}  // namespace

View::View(std::uintptr_t pointer, Dims shape, std::string dtype, int device, py::object owner)
    : pointer_(pointer),
      shape_(std::move(shape)),
      dtype_(std::move(dtype)),
      item_(item_size(dtype_)),
      device_(device),
      owner_(std::move(owner)) {
    for (const Index size : shape_)
        if (size < 0) throw py::value_error("view: expected sizes of 0 or more, got " + std::to_string(size));
    if (size() > 0 && pointer_ == 0) throw py::value_error("view: expected memory, got a null pointer");
}

Index View::size() const {
    Index product = 1;
    for (const Index size : shape_) product *= size;
    return product;
}

View Place::allocate(const Dims& shape, const char* dtype) const {
    const py::object made = allocate_(shape, dtype);
    const View view = made.cast<View>();
    if (view.dims() != shape || view.dtype() != dtype || view.device() != device_)
        throw py::value_error("place.allocate: expected an array of the shape, dtype and device asked for");
    return view;
}

Dims shape_of(const View& view) { return view.dims(); }
bool is_dtype(const View& view, Dtype dtype) { return view.dtype() == name_of(dtype); }
bool holds_tokens(const View& view) { return view.dtype() == "int64"; }
bool in_order(const View&) { return true; }
std::string dtype_text(const View& view) { return view.dtype(); }

void check_place(const Place& place, const View& view, const char* name) {
    if (view.device() != place.device())
        throw py::value_error(std::string(name) + ": expected an array on device " + std::to_string(place.device()) +
                              ", got one on device " + std::to_string(view.device()));
    if (view.size() > 0 && view.pointer() % kAlignment != 0)
        throw py::value_error(std::string(name) + ": expected memory aligned to " + std::to_string(kAlignment) +
                              " bytes, got one that begins " + std::to_string(view.pointer() % kAlignment) +
                              " bytes behind");
}

View fresh(const Place& place, Dtype dtype, const Dims& shape) {
    View view = place.allocate(shape, name_of(dtype));
    if (backend().poison()) fill(place, view, 0xff);
    return view;
}

View fresh_zeros(const Place& place, Dtype dtype, const Dims& shape) {
    View view = place.allocate(shape, name_of(dtype));
    fill(place, view, 0);
    return view;
}

View fresh_places(const Place& place, const Dims& shape) {
    View view = place.allocate(shape, "int64");
    fill(place, view, 0xff);
    return view;
}

void Reserve::take(const Place& place, int set, Index bytes) {
    set_ = set;
    bytes_ = place.allocate({bytes}, "uint8");
    if (backend().poison()) fill(place, bytes_, 0xff);
}

Reserve::Reserve(View bytes) : set_(backend().current_set()), bytes_(std::move(bytes)) {
    if (bytes_.dtype() != "uint8" || bytes_.ndim() != 1)
        throw py::type_error("reserve: expected uint8 (n,), got " + bytes_.dtype());
}

void bind_device_array(py::module_& m) {
    py::class_<View>(m, "View", "Memory of a device, and who owns it.")
        .def(py::init<std::uintptr_t, Dims, std::string, int, py::object>(), py::arg("pointer"), py::arg("shape"),
             py::arg("dtype"), py::arg("device"), py::arg("owner"))
        .def_property_readonly("pointer", &View::pointer)
        .def_property_readonly("shape", [](const View& view) { return py::tuple(py::cast(view.dims())); })
        .def_property_readonly("dtype", &View::dtype)
        .def_property_readonly("device", &View::device)
        .def_property_readonly("nbytes", &View::nbytes)
        .def_property_readonly("owner", &View::owner);
    py::class_<Gathered, std::shared_ptr<Gathered>>(m, "Gathered", "Calls that are put together.")
        .def(py::init<>())
        .def("put", &Gathered::put, py::arg("steps"))
        .def("__len__", &Gathered::count);
    py::class_<Place>(m, "Place", "Where a call runs, and who gives it memory.")
        .def(py::init<int, std::uintptr_t, py::object, bool, std::shared_ptr<Gathered>>(), py::arg("device"),
             py::arg("stream"), py::arg("allocate"), py::arg("tf32") = false, py::arg("gathered") = nullptr)
        .def_property_readonly("device", &Place::device);
    // Of this module alone: another backend has a class of this name.
    py::class_<Reserve>(m, "Reserve", py::module_local(), "What a training forward keeps for its backward; opaque.")
        .def(py::init<View>(), py::arg("bytes"))
        .def_property_readonly("view", &Reserve::view)
        .def_property_readonly("nbytes", &Reserve::bytes);
}

}  // namespace rnnkernels::binding
