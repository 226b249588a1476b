// The classes of prepared.h. Everything here serves inference: nothing is kept for a backward.
#include "prepared.h"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>

#include "watched.h"

namespace rnnkernels::binding {
namespace {

// Of int8 weights: of weight_ih, weight_hh, weight_gg, weight_hr.
using Scales = std::optional<std::tuple<OptionalArray, OptionalArray, OptionalArray, OptionalArray>>;

// Whether an object is an array of numbers of this dtype, or of tokens, that kernels can read where it lies.
bool readable(const py::object& x, Dtype dtype) {
    if (!py::isinstance<py::array>(x)) return false;
    const py::array array = py::reinterpret_borrow<py::array>(x);
    return in_order(array) && (is_dtype(array, dtype) || holds_tokens(array));
}

// The packed weights of one layer, in the layout of one instruction set; never changed once made.
class PreparedLayer {
public:
    // Of weights; or of the bytes of one that was made alike, for this set: the layer then only says its shapes.
    PreparedLayer(const std::string& cell, const Layer& layer, const std::string& weights, bool tokens,
                  const Settings& settings, int set, const std::optional<py::array>& bytes, Products products,
                  const Scales& scales)
        : problem_(read_parameters({}, cell, layer)), set_(set), tokens_(tokens) {
        Preparation how{};
        if (weights == "bfloat16")
            how.storage = WeightStorage::bfloat16;
        else if (weights == "int8")
            how.storage = WeightStorage::int8;
        else if (weights != "full")
            throw py::value_error("weights: expected full, bfloat16 or int8, got '" + weights + "'");
        if (how.storage != WeightStorage::full && problem_.dtype != Dtype::float32)
            throw py::type_error("weights: " + weights + " needs float32 parameters, got float64");
        read_products(problem_, products);
        read_scales(how, layer, scales);
        read_settings(problem_, settings);
        if (tokens) check_takes_tokens(problem_);
        Inputs in = problem_.in;
        static constexpr std::int64_t kind = 0;  // only whether it is null is read
        if (tokens) {
            in.tokens = &kind;
        } else {
            in.x = &kind;
        }
        {
            const Released released;
            packed_ = backend().prepare(set_, problem_.cell, problem_.dtype, in, how, !bytes);
        }
        if (bytes) write(*bytes);
        problem_.in.weight_ih = problem_.in.weight_hh = problem_.in.bias_ih = problem_.in.bias_hh = nullptr;
        problem_.in.weight_gg = problem_.in.weight_diagonal = problem_.in.weight_hr = nullptr;
    }
    ~PreparedLayer() { discard(); }
    PreparedLayer(const PreparedLayer&) = delete;
    PreparedLayer& operator=(const PreparedLayer&) = delete;

    bool tokens() const { return tokens_; }
    const char* set_name() const { return backend().set_name(set_); }
    Index bytes() const { return backend().prepared_bytes(set_, problem_.cell, problem_.dtype, packed_); }
    py::array read() const {
        py::array bytes(py::dtype::of<std::uint8_t>(), Dims{this->bytes()});
        backend().read_prepared(set_, problem_.cell, problem_.dtype, packed_, bytes.mutable_data());
        return bytes;
    }

    // The layer as a problem, with no arrays in it: those it was made from may be gone.
    const Problem& problem() const { return problem_; }

    py::tuple forward(const py::array& x, const OptionalState& state, const Schedule& schedule,
                      const OptionalArray& term, const OptionalNoise& noise) const {
        Problem p = problem();
        check_kind(x);
        read_x(p, x);
        read_schedule(p, schedule);
        read_term(p, term);
        read_noise(p, noise);
        read_state(p, "state", state, p.in.state);
        ForwardCall call{};
        call.in = p.in;
        py::array output = fresh_sequence(p, p.width(0));
        call.output = output.mutable_data();
        const py::tuple final_state = fresh_states(p, call.final_state);
        Watched watched(call.in);
        call.in.watch = watched.watch();
        watched.run([&] { run(call); });
        return py::make_tuple(output, final_state);
    }

    void check_kind(const py::array& x) const {
        if (holds_tokens(x) != tokens_)
            throw py::type_error(std::string("x: expected ") + (tokens_ ? "tokens" : "vectors") +
                                 ", what the layer was prepared for (its argument tokens), got " +
                                 (tokens_ ? "vectors" : "tokens"));
    }

    void run(ForwardCall& call) const {
        call.prepared = packed_;
        backend().forward(set_, problem_.cell, problem_.dtype, call);
    }

private:
    // The scales of int8 weights, one for each row of a matrix; None: by the largest of the row.
    static void read_scales(Preparation& how, const Layer& layer, const Scales& scales) {
        if (!scales) return;
        if (how.storage != WeightStorage::int8) throw py::value_error("scales: expected None but for int8 weights");
        const auto read = [](const float*& to, const char* name, const OptionalArray& given,
                             const OptionalArray& weight) {
            if (!given) return;
            if (!weight) throw py::value_error(std::string(name) + ": expected None, as the layer has no such matrix");
            to = static_cast<const float*>(
                checked({}, *given, name, Dtype::float32, Dims{shape_of(*weight)[0]}, "(rows)"));
        };
        const auto& [ih, hh, gg, hr] = *scales;
        read(how.scale_ih, "scale_ih", ih, layer.weight_ih);
        read(how.scale_hh, "scale_hh", hh, layer.weight_hh);
        read(how.scale_gg, "scale_gg", gg, layer.weight_gg);
        read(how.scale_hr, "scale_hr", hr, layer.weight_hr);
    }

    void discard() { backend().discard(set_, problem_.cell, problem_.dtype, packed_); }
    void write(const py::array& bytes) {
        if (!holds_bytes(bytes) || bytes.size() != this->bytes()) {
            const std::string wanted = std::to_string(this->bytes());
            discard();
            throw py::value_error("bytes: expected uint8 (" + wanted +
                                  ",), those of a layer that was made alike, got " + dtype_text(bytes) + " (" +
                                  std::to_string(bytes.size()) + ",)");
        }
        backend().write_prepared(set_, problem_.cell, problem_.dtype, packed_, bytes.data());
    }

    Problem problem_;
    int set_;
    bool tokens_;
    void* packed_ = nullptr;
};

// A prepared layer, a batch and its states: one step per call, nothing allocated.
class Stepper {
public:
    Stepper(std::shared_ptr<const PreparedLayer> layer, Index batch, const OptionalNoise& noise)
        : layer_(std::move(layer)), p_(layer_->problem()) {
        if (batch < 0) throw py::value_error("batch_size: expected 0 or more, got " + std::to_string(batch));
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
        layer_->check_kind(x);
        py::array& output = output_[turn_];
        const py::array input = overlaps(x, output) ? py::array(x.attr("copy")()) : x;
        const Index batch = call_.in.shape.batch;
        const Back back{p_, batch};
        read_x(p_, input, true);
        if (p_.in.shape.batch != batch)
            throw py::value_error("x: expected the stepper's batch size, B = " + std::to_string(batch) +
                                  ", got B = " + std::to_string(p_.in.shape.batch));
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

    // One user at a time: two steps of one state at once have no meaning.
    class Hold {
    public:
        explicit Hold(std::atomic<bool>& busy) : busy_(busy) {
            if (busy_.exchange(true))
                throw std::runtime_error("stepper: expected one call at a time, got a second one");
        }
        ~Hold() { busy_ = false; }
        Hold(const Hold&) = delete;
        Hold& operator=(const Hold&) = delete;

    private:
        std::atomic<bool>& busy_;
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

// What Python holds of them (make_owned).
struct PreparedHandle {
    std::shared_ptr<const PreparedLayer> layer;
};
struct StepperHandle {
    std::unique_ptr<Stepper> stepper;
};

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
    m.def("stepper", &make_stepper, py::arg("layer"), py::arg("batch_size"), py::arg("noise").none(true));
}

}  // namespace rnnkernels::binding
