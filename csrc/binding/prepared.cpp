// The classes of prepared.h. Everything here serves inference: nothing is kept for a backward.
#include "prepared.h"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>

namespace rnnkernels::binding {
namespace {

// Whether an object is an array of numbers of this dtype, or of tokens, that kernels can read where it lies.
bool readable(const py::object& x, Dtype dtype) {
    if (!py::isinstance<py::array>(x)) return false;
    const py::array array = py::reinterpret_borrow<py::array>(x);
    return in_order(array) && (is_dtype(array, dtype) || holds_tokens(array));
}

// The packed weights of one layer, in the layout of one instruction set; never changed once made.
class PreparedLayer {
public:
    PreparedLayer(const std::string& cell, const Layer& layer, const std::string& weights, bool tokens,
                  const Settings& settings)
        : problem_(read_parameters({}, cell, layer)), set_(backend().current_set()), tokens_(tokens) {
        const bool half = weights == "bfloat16";
        if (!half && weights != "full")
            throw py::value_error("weights: expected full or bfloat16, got '" + weights + "'");
        if (half && problem_.dtype != Dtype::float32)
            throw py::type_error("weights: bfloat16 needs float32 parameters, got float64");
        read_settings(problem_, settings);
        Inputs in = problem_.in;
        static constexpr std::int64_t kind = 0;  // only whether it is null is read
        if (tokens) {
            in.tokens = &kind;
        } else {
            in.x = &kind;
        }
        const py::gil_scoped_release released;
        packed_ = backend().prepare(set_, problem_.cell, problem_.dtype, in,
                                    half ? WeightStorage::bfloat16 : WeightStorage::full);
        problem_.in.weight_ih = problem_.in.weight_hh = problem_.in.bias_ih = problem_.in.bias_hh = nullptr;
        problem_.in.weight_gg = problem_.in.weight_diagonal = problem_.in.weight_hr = nullptr;
    }
    ~PreparedLayer() { backend().discard(set_, problem_.cell, problem_.dtype, packed_); }
    PreparedLayer(const PreparedLayer&) = delete;
    PreparedLayer& operator=(const PreparedLayer&) = delete;

    bool tokens() const { return tokens_; }
    Index bytes() const { return backend().prepared_bytes(set_, problem_.cell, problem_.dtype, packed_); }

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
        {
            const py::gil_scoped_release released;
            run(call);
        }
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
        reset(std::nullopt);
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
        Problem p = p_;
        read_x(p, input, true);
        if (p.in.shape.batch != p_.in.shape.batch)
            throw py::value_error("x: expected the stepper's batch size, B = " + std::to_string(p_.in.shape.batch) +
                                  ", got B = " + std::to_string(p.in.shape.batch));
        call_.in.x = p.in.x;
        call_.in.tokens = p.in.tokens;
        call_.output = output.mutable_data();
        {
            const py::gil_scoped_release released;
            layer_->run(call_);
        }
        turn_ = 1 - turn_;
        return output;
    }

    py::tuple state() {
        const Hold hold(busy_);
        py::tuple copies(state_.size());
        for (std::size_t i = 0; i < state_.size(); ++i) copies[i] = state_[i].attr("copy")();
        return copies;
    }

    // Other states to go on from; zeros where none are given.
    void reset(const OptionalState& state) {
        const Hold hold(busy_);
        const void* from[kMaxStates] = {};
        read_state(p_, "state", state, from);
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

private:
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

    static bool overlaps(const py::array& a, const py::array& b) {
        const auto* from = static_cast<const char*>(a.data());
        const auto* other = static_cast<const char*>(b.data());
        return from < other + b.nbytes() && other < from + a.nbytes();
    }

    std::shared_ptr<const PreparedLayer> layer_;
    Problem p_;
    ForwardCall call_{};
    py::array output_[2];           // (B, H)
    std::vector<py::array> state_;  // each (B, H)
    int turn_ = 0;
    std::atomic<bool> busy_{false};
};

}  // namespace

void bind_prepared(py::module_& m) {
    py::class_<PreparedLayer, std::shared_ptr<PreparedLayer>>(m, "Prepared", "A layer's packed weights; opaque.")
        .def(py::init<const std::string&, const Layer&, const std::string&, bool, const Settings&>(), py::arg("cell"),
             py::arg("layer"), py::arg("weights"), py::arg("tokens"), py::arg("settings"))
        .def_property_readonly("nbytes", &PreparedLayer::bytes)
        .def("forward", &PreparedLayer::forward, py::arg("x"), py::arg("state").none(true),
             py::arg("schedule").none(true), py::arg("term").none(true), py::arg("noise").none(true));
    py::class_<Stepper>(m, "Stepper", "A prepared layer with its states; opaque.")
        .def(py::init([](const std::shared_ptr<PreparedLayer>& layer, Index batch, const OptionalNoise& noise) {
                 return std::make_unique<Stepper>(layer, batch, noise);
             }),
             py::arg("layer"), py::arg("batch_size"), py::arg("noise").none(true))
        .def("step", &Stepper::step, py::arg("x"))
        .def("state", &Stepper::state)
        .def("reset", &Stepper::reset, py::arg("state").none(true));
}

}  // namespace rnnkernels::binding
