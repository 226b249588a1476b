// What Python calls of device_layer.h and device_steps.h.
#include "device_prepared.h"

#include <memory>
#include <vector>

#include "device_steps.h"

namespace rnnkernels::binding {
namespace {

// What Python holds of them (make_owned).
struct DeviceLayerHandle {
    std::shared_ptr<DeviceLayer> layer;
};
struct DeviceStepperHandle {
    std::shared_ptr<DeviceStates> states;
    std::unique_ptr<DeviceSteps> steps;
};
struct DeviceStackStepperHandle {
    std::unique_ptr<DeviceSteps> steps;
};

py::object prepare(const Place& place, const std::string& cell, const Layer& layer, bool tokens,
                   const Settings& settings) {
    py::object made;
    auto& handle = make_owned<DeviceLayerHandle>(made);
    handle.layer = std::make_shared<DeviceLayer>(place, cell, layer, tokens, settings);
    return made;
}

py::object make_stepper(const Place& place, const DeviceLayerHandle& layer, Index batch, const OptionalNoise& noise) {
    py::object made;
    auto& handle = make_owned<DeviceStepperHandle>(made);
    handle.states = std::make_shared<DeviceStates>(layer.layer, place, batch, noise);
    return made;
}

// Alone until it is asked to step: in a stack it never is.
View step(DeviceStepperHandle& of, const Place& place, const View& x) {
    // Made apart: to allocate is to run Python, and another thread may have made it meanwhile.
    if (!of.steps)
        if (auto made = std::make_unique<DeviceSteps>(place, std::vector{of.states}); !of.steps)
            of.steps = std::move(made);
    return of.steps->step(place, x);
}

py::object make_stack_stepper(const Place& place, const std::vector<py::object>& steppers) {
    py::object made;
    auto& handle = make_owned<DeviceStackStepperHandle>(made);
    std::vector<std::shared_ptr<DeviceStates>> layers;
    for (const py::object& stepper : steppers) layers.push_back(stepper.cast<DeviceStepperHandle&>().states);
    handle.steps = std::make_unique<DeviceSteps>(place, std::move(layers));
    return made;
}

}  // namespace

void bind_device_prepared(py::module_& m) {
    py::class_<DeviceLayerHandle>(m, "Prepared", py::module_local(), "A layer's weights; opaque. prepare makes one.")
        .def_property_readonly("nbytes", [](const DeviceLayerHandle& of) { return of.layer->bytes(); })
        .def(
            "forward",
            [](const DeviceLayerHandle& of, const Place& place, const View& x, const OptionalState& state,
               const Schedule& schedule, const OptionalArray& term,
               const OptionalNoise& noise) { return of.layer->forward(place, x, state, schedule, term, noise); },
            py::arg("place"), py::arg("x"), py::arg("state").none(true), py::arg("schedule").none(true),
            py::arg("term").none(true), py::arg("noise").none(true));
    m.def("prepare", &prepare, py::arg("place"), py::arg("cell"), py::arg("layer"), py::arg("tokens"),
          py::arg("settings"));
    py::class_<DeviceStepperHandle>(m, "Stepper", py::module_local(),
                                    "A prepared layer with its states; opaque. stepper makes one.")
        .def("step", &step, py::arg("place"), py::arg("x"))
        .def(
            "state", [](DeviceStepperHandle& of, const Place& place) { return of.states->state(place); },
            py::arg("place"))
        .def(
            "reset",
            [](DeviceStepperHandle& of, const Place& place, const OptionalState& state, const OptionalArray& term) {
                of.states->reset(place, state, term);
            },
            py::arg("place"), py::arg("state").none(true), py::arg("term").none(true))
        .def(
            "term", [](DeviceStepperHandle& of, const Place& place) { return of.states->term(place); },
            py::arg("place"))
        .def_property_readonly("graphs",
                               [](const DeviceStepperHandle& of) { return of.steps ? of.steps->graphs() : 0; });
    py::class_<DeviceStackStepperHandle>(m, "StackStepper", py::module_local(),
                                         "Steppers one above the other; opaque. stack_stepper makes one.")
        .def(
            "step",
            [](DeviceStackStepperHandle& of, const Place& place, const View& x) { return of.steps->step(place, x); },
            py::arg("place"), py::arg("x"))
        .def_property_readonly("graphs", [](const DeviceStackStepperHandle& of) { return of.steps->graphs(); });
    m.def("stack_stepper", &make_stack_stepper, py::arg("place"), py::arg("steppers"));
    m.def("stepper", &make_stepper, py::arg("place"), py::arg("layer"), py::arg("batch_size"),
          py::arg("noise").none(true));
}

}  // namespace rnnkernels::binding
