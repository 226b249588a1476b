// The classes of prepared.h. Everything here serves inference: nothing is kept for a backward.
#include "prepared.h"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>

#include "prepared_checks.h"
#include "prepared_layer.h"

namespace rnnkernels::binding {
namespace {

// Whether an object is an array of numbers of this dtype, or of tokens, that kernels can read where it lies.
bool readable(const py::object& x, Dtype dtype) {
    if (!py::isinstance<py::array>(x)) return false;
    const py::array array = py::reinterpret_borrow<py::array>(x);
    return in_order(array) && (is_dtype(array, dtype) || holds_tokens(array));
}

// A prepared layer, a batch and its states: one step per call, nothing allocated.
class Stepper {
public:
    Stepper(std::shared_ptr<const PreparedLayer> layer, Index batch, const OptionalNoise& noise)
        : layer_(std::move(layer)), p_(layer_->problem()) {
        check_batch_size(batch);
        p_.in.shape.steps = 1;
        p_.in.shape.batch = batch;
        read_noise(p_, noise);
        for (py::array& array : output_) array = fresh({}, p_.dtype, p_.state_shape(0));
        const py::tuple states = fresh_states(p_, call_.final_state);
        for (const auto& state : states) state_.push_back(state.cast<py::array>());
        call_.in = p_.in;
        for (int i = 0; i < p_.info().state_count; ++i) call_.in.state[i] = call_.final_state[i];  // updated in place
        Inputs step = p_.in;
        step.x = &step;  // only whether it is null is read
        takes_long_ = Watched::takes_long(step);
        reset(std::nullopt, std::nullopt);
    }

    // h after the step, in one of two arrays that take turns: the last result may be the next x. None, and nothing
    // done, where x is no array that can be read as it is: the caller makes it one and comes again.
    py::object step(const py::object& given) {
        if (!readable(given, p_.dtype)) return py::none();
        const py::array x = py::reinterpret_borrow<py::array>(given);
        const Hold hold(busy_);
        check_kind(x, layer_->tokens());
        py::array& output = output_[turn_];
        const py::array input = overlaps(x, output) ? py::array(x.attr("copy")()) : x;
        const Index batch = call_.in.shape.batch;
        const Back back{p_, batch};
        read_x(p_, input, true);
        check_step_rows(p_.in.shape.batch, batch);
        call_.in.x = p_.in.x;
        call_.in.tokens = p_.in.tokens;
        call_.output = output.mutable_data();
        run();
        turn_ = 1 - turn_;
        return output;
    }

    py::tuple state() {
        const Hold hold(busy_);
        py::tuple copies(state_.size());
        for (std::size_t i = 0; i < state_.size(); ++i) copies[i] = state_[i].attr("copy")();
        return copies;
    }

    // Other states to go on from, zeros where none are given; another term, a copy of it, where one is given.
    void reset(const OptionalState& state, const OptionalArray& term) {
        const Hold hold(busy_);
        const void* from[kMaxStates] = {};
        read_state(p_, "state", state, from);
        if (term) {
            Problem given = p_;
            read_term(given, term);
            term_ = py::array(term->attr("copy")());
            call_.in.term = term_->data();
        }
        put_states(from);
    }

    py::object term() {
        const Hold hold(busy_);
        return term_ ? py::object(term_->attr("copy")()) : py::none();
    }

private:
    // Gives the problem its batch back, whatever the x of a step had.
    struct Back {
        Problem& problem;
        Index batch;
        ~Back() { problem.in.shape.batch = problem.batch = batch; }
    };

    // The step at hand. States are updated in place: one that may be stopped leaves them as they were.
    void run() {
        if (!takes_long_) {
            const Released released;
            layer_->run(call_);
            return;
        }
        Watched watched(call_.in);
        call_.in.watch = watched.watch();
        std::vector<py::array> before;
        for (std::size_t i = 0; call_.in.watch && i < state_.size(); ++i) before.emplace_back(state_[i].attr("copy")());
        try {
            watched.run([&] { layer_->run(call_); });
        } catch (const py::error_already_set&) {
            const void* from[kMaxStates] = {};
            for (std::size_t i = 0; i < before.size(); ++i) from[i] = before[i].data();
            put_states(from);
            throw;
        }
    }

    void put_states(const void* const* from) {
        for (std::size_t i = 0; i < state_.size(); ++i) {
            const auto bytes = static_cast<std::size_t>(state_[i].nbytes());
            if (bytes == 0) continue;
            if (from[i]) {
                std::memcpy(call_.final_state[i], from[i], bytes);
            } else {
                std::memset(call_.final_state[i], 0, bytes);
            }
        }
    }

    static bool overlaps(const py::array& a, const py::array& b) {
        const auto* from = static_cast<const char*>(a.data());
        const auto* other = static_cast<const char*>(b.data());
        return from < other + b.nbytes() && other < from + a.nbytes();
    }

    std::shared_ptr<const PreparedLayer> layer_;
    Problem p_;
    ForwardCall call_{};
    py::array output_[2];            // (B, H)
    std::vector<py::array> state_;   // each (B, H)
    std::optional<py::array> term_;  // (B, Gx*H)
    int turn_ = 0;
    bool takes_long_ = false;
    std::atomic<bool> busy_{false};
};

// What Python holds of one (make_owned).
struct StepperHandle {
    std::unique_ptr<Stepper> stepper;
};

// Steppers of layers on layers, the first layer first: one step of all, each layer's h the x of the one above.
struct StackStepperHandle {
    std::vector<py::object> kept;
    std::vector<Stepper*> layers;
};

py::object make_stack_stepper(const std::vector<py::object>& steppers) {
    py::object made;
    auto& handle = make_owned<StackStepperHandle>(made);
    handle.kept = steppers;
    for (const py::object& stepper : steppers) handle.layers.push_back(stepper.cast<StepperHandle&>().stepper.get());
    return made;
}

// None, and nothing done, where x is no array that can be read as it is.
py::object step_all(const StackStepperHandle& stack, py::object x) {
    for (Stepper* const layer : stack.layers) {
        x = layer->step(x);
        if (x.is_none()) break;
    }
    return x;
}

py::object prepare(const std::string& cell, const Layer& layer, const std::string& weights, bool tokens,
                   const Settings& settings, const std::optional<std::string>& set,
                   const std::optional<py::array>& bytes, Products products, const Scales& scales) {
    py::object made;
    auto& handle = make_owned<PreparedHandle>(made);
    handle.layer =
        std::make_shared<PreparedLayer>(cell, layer, weights, tokens, settings,
                                        set ? find_set(*set) : backend().current_set(), bytes, products, scales);
    return made;
}

py::object make_stepper(const PreparedHandle& prepared, Index batch, const OptionalNoise& noise) {
    py::object made;
    auto& handle = make_owned<StepperHandle>(made);
    handle.stepper = std::make_unique<Stepper>(prepared.layer, batch, noise);
    return made;
}

}  // namespace

void bind_prepared(py::module_& m) {
    py::class_<PreparedHandle>(m, "Prepared", "A layer's packed weights; opaque. prepare makes one.")
        .def_property_readonly("nbytes", [](const PreparedHandle& of) { return of.layer->bytes(); })
        .def_property_readonly("instruction_set", [](const PreparedHandle& of) { return of.layer->set_name(); })
        .def("bytes", [](const PreparedHandle& of) { return of.layer->read(); })
        .def(
            "forward",
            [](const PreparedHandle& of, const py::array& x, const OptionalState& state, const Schedule& schedule,
               const OptionalArray& term,
               const OptionalNoise& noise) { return of.layer->forward(x, state, schedule, term, noise); },
            py::arg("x"), py::arg("state").none(true), py::arg("schedule").none(true), py::arg("term").none(true),
            py::arg("noise").none(true));
    m.def("prepare", &prepare, py::arg("cell"), py::arg("layer"), py::arg("weights"), py::arg("tokens"),
          py::arg("settings"), py::arg("instruction_set") = std::nullopt, py::arg("bytes") = std::nullopt,
          py::arg("products") = Products::full, py::arg("scales") = std::nullopt);
    py::class_<StepperHandle>(m, "Stepper", "A prepared layer with its states; opaque. stepper makes one.")
        .def(
            "step", [](StepperHandle& of, const py::object& x) { return of.stepper->step(x); }, py::arg("x"))
        .def("state", [](StepperHandle& of) { return of.stepper->state(); })
        .def(
            "reset",
            [](StepperHandle& of, const OptionalState& state, const OptionalArray& term) {
                of.stepper->reset(state, term);
            },
            py::arg("state").none(true), py::arg("term").none(true))
        .def("term", [](StepperHandle& of) { return of.stepper->term(); });
    py::class_<StackStepperHandle>(m, "StackStepper", "Steppers one above the other; opaque. stack_stepper makes one.")
        .def("step", &step_all, py::arg("x"));
    m.def("stack_stepper", &make_stack_stepper, py::arg("steppers"));
    m.def("stepper", &make_stepper, py::arg("layer"), py::arg("batch_size"), py::arg("noise").none(true));
}

}  // namespace rnnkernels::binding
