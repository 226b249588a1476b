// The classes of device_prepared.h. Everything here serves inference, and waits for no GPU.
//
// A layer holds its weights as they are: the kernels read rows of them, and pack nothing. The copy is the caller's
// (python/rnnkernels/cuda/prepared.py). Not here: how a call is recorded (cuda/graph.h).
#include "device_prepared.h"

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "../device_table.h"
#include "prepared_checks.h"
#include "released.h"

namespace rnnkernels::binding {
namespace {

// One thread at a time. Waits without the GIL: who holds it may want that for its own work.
class Turn {
public:
    explicit Turn(std::mutex& guard) : guard_(guard) {
        const Released released;
        guard_.lock();
    }
    ~Turn() { guard_.unlock(); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

private:
    std::mutex& guard_;
};

// Memory of a place that grows where a call wants more. True where it is other memory than before.
bool grow(Reserve& memory, const Place& place, Index bytes) {
    if (static_cast<Index>(memory.bytes()) >= bytes) return false;
    memory.take(place, 0, bytes);
    return true;
}

// Never changed once made, but for its scratch memory.
class DeviceLayer {
public:
    DeviceLayer(const Place& place, const std::string& cell, const Layer& layer, bool tokens, const Settings& settings)
        : problem_(read_parameters(place, cell, layer)), layer_(layer), tokens_(tokens) {
        read_settings(problem_, settings);
        if (tokens) check_takes_tokens(problem_);
    }

    bool tokens() const { return tokens_; }
    // With the weights in it, and nothing a call is given.
    const Problem& problem() const { return problem_; }
    Problem problem_at(const Place& place) const {
        if (place.device() != problem_.place.device())
            throw py::value_error("x: expected an array on device " + std::to_string(problem_.place.device()) +
                                  ", as the parameters, got one on device " + std::to_string(place.device()));
        Problem p = problem_;
        p.place = place;
        p.in.where = place.where();
        return p;
    }

    Index bytes() const {
        Index sum = layer_.weight_ih.nbytes() + layer_.weight_hh.nbytes();
        for (const OptionalArray* part :
             {&layer_.bias_ih, &layer_.bias_hh, &layer_.weight_gg, &layer_.weight_diagonal, &layer_.weight_hr})
            if (*part) sum += (*part)->nbytes();
        return sum;
    }

    py::tuple forward(const Place& place, const View& x, const OptionalState& state, const Schedule& schedule,
                      const OptionalArray& term, const OptionalNoise& noise) {
        check_kind(x, tokens_);
        Problem p = problem_at(place);
        read_given(p, x, state, schedule, term, noise, {});  // the settings are the layer's
        ForwardCall call{};
        call.in = p.in;
        View output = fresh_sequence(p, p.width(0));
        call.output = output.mutable_data();
        const py::tuple final_state = fresh_states(p, call.final_state);
        run(place, p, call);
        return py::make_tuple(output, final_state);
    }

private:
    static constexpr std::size_t kMostStreams = 16;

    // Puts the call into its stream. Two calls in one stream use the same scratch memory, one after the other, and none
    // may be put there in the midst of another: one thread at a time. In a stream that is recorded the memory is
    // the recording's own, since a replay may run beside later calls.
    void run(const Place& place, const Problem& p, ForwardCall& call) {
        const int set = backend().current_set();
        const Index bytes = backend().forward_bytes(set, p.cell, p.dtype, call);
        const Turn turn(guard_);
        Reserve own;
        Reserve* scratch = &own;
        if (!cuda::is_recorded_stream(place.device(), call.in.where.stream)) {
            const auto key = reinterpret_cast<std::uintptr_t>(call.in.where.stream);
            if (scratch_.size() >= kMostStreams && scratch_.count(key) == 0) scratch_.clear();
            scratch = &scratch_[key];
        }
        grow(*scratch, place, bytes);
        call.in.where.workspace = scratch->data();
        call.in.where.workspace_bytes = static_cast<Index>(scratch->bytes());
        const Released released;
        backend().forward(set, p.cell, p.dtype, call);
    }

    Problem problem_;
    Layer layer_;  // whose memory the problem points to
    bool tokens_;
    std::mutex guard_;
    std::map<std::uintptr_t, Reserve> scratch_;  // of each stream
};

// A layer, a batch and its states: all that a step reads or writes lies where the step before had it, so that it is a
// graph that runs again. Two graphs, since h goes into one of two arrays that take turns.
class DeviceStepper {
public:
    DeviceStepper(std::shared_ptr<const DeviceLayer> layer, const Place& place, Index batch, const OptionalNoise& noise)
        : layer_(std::move(layer)), p_(layer_->problem_at(place)) {
        check_batch_size(batch);
        p_.in.shape.steps = p_.steps = 1;
        p_.in.shape.batch = p_.batch = batch;
        read_noise(p_, noise);
        call_.in = p_.in;
        x_ = layer_->tokens() ? place.allocate({batch}, "int64") : fresh(place, p_.dtype, {batch, p_.x_row()});
        call_.in.x = layer_->tokens() ? nullptr : x_.data();
        call_.in.tokens = layer_->tokens() ? static_cast<const std::int64_t*>(x_.data()) : nullptr;
        for (View& output : output_) output = fresh(place, p_.dtype, {batch, p_.width(0)});
        for (int k = 0; k < p_.info().state_count; ++k) {
            state_.push_back(fresh_zeros(place, p_.dtype, p_.state_shape(k)));
            call_.in.state[k] = call_.final_state[k] = state_.back().mutable_data();  // updated in place
        }
    }
    ~DeviceStepper() { forget(); }
    DeviceStepper(const DeviceStepper&) = delete;
    DeviceStepper& operator=(const DeviceStepper&) = delete;

    // h after the step, in one of two arrays that take turns: the last result may be the next x, which is copied.
    View step(const Place& place, const View& x) {
        const Hold hold(busy_);
        check_kind(x, layer_->tokens());
        Problem given = layer_->problem_at(place);
        read_x(given, x, true);
        const Index batch = call_.in.shape.batch;
        check_step_rows(given.batch, batch);
        settle(place);
        void* const stream = place.where().stream;
        const bool recorded = cuda::is_recorded_stream(place.device(), stream);
        View& output = output_[turn_];
        call_.output = output.mutable_data();
        call_.in.where = place.where();
        call_.in.where.workspace = scratch_.data();
        call_.in.where.workspace_bytes = static_cast<Index>(scratch_.bytes());
        {
            const Released released;
            cuda::copy(place.device(), stream, x.data(), x_.mutable_data(), x_.nbytes());
            put(stream, recorded);
        }
        turn_ = 1 - turn_;
        return output;
    }

    py::tuple state(const Place& place) {
        const Hold hold(busy_);
        py::tuple copies(state_.size());
        for (std::size_t k = 0; k < state_.size(); ++k) copies[k] = copy_of(place, state_[k]);
        return copies;
    }

    // Other states to go on from, zeros where none are given; another term, a copy of it, where one is given.
    void reset(const Place& place, const OptionalState& state, const OptionalArray& term) {
        const Hold hold(busy_);
        Problem given = layer_->problem_at(place);
        given.in.shape.batch = given.batch = call_.in.shape.batch;
        const void* from[kMaxStates] = {};
        read_state(given, "state", state, from);
        if (term) {
            read_term(given, term);
            if (!term_) {
                term_ = fresh(place, p_.dtype, shape_of(*term));
                call_.in.term = term_->data();
                forget();  // graphs without a term
            }
            put_copy(place, term->data(), *term_);
        }
        for (std::size_t k = 0; k < state_.size(); ++k) {
            if (from[k])
                put_copy(place, from[k], state_[k]);
            else
                cuda::fill(place.where().stream, state_[k].mutable_data(), 0, state_[k].nbytes());
        }
    }

    // How many steps have been recorded: 0, 1 or 2.
    int graphs() const { return (graphs_[0] ? 1 : 0) + (graphs_[1] ? 1 : 0); }

    py::object term(const Place& place) {
        const Hold hold(busy_);
        return term_ ? as_object(copy_of(place, *term_)) : py::none();
    }

private:
    // Puts the step at hand into a stream: the first piece by piece, since a kernel that is compiled, or a library that
    // is loaded, must be there before anything is recorded; then as graphs. In a stream of the caller's recording its
    // pieces belong there.
    void put(void* stream, bool recorded) {
        if (recorded || !ran_ || call_.in.shape.batch == 0) {
            backend().forward(set_, p_.cell, p_.dtype, call_);
            ran_ = ran_ || !recorded;
            return;
        }
        auto& graph = graphs_[turn_];
        if (!graph) graph = cuda::record_forward(set_, p_.cell, p_.dtype, call_);
        cuda::run_recorded(graph, call_.in.where.device, stream);
    }

    // The kernel and the settings of now; graphs that were made of others go.
    void settle(const Place& place) {
        const int set = backend().current_set();
        const bool tf32 = place.where().tf32;
        if (settled_ && set == set_ && tf32 == tf32_) return;
        forget();
        set_ = set, tf32_ = tf32;
        call_.in.where = place.where();
        call_.output = output_[turn_].mutable_data();
        grow(scratch_, place, backend().forward_bytes(set, p_.cell, p_.dtype, call_));
        settled_ = true;
    }
    void forget() {
        for (cuda::Recorded*& graph : graphs_) {
            cuda::discard_recorded(graph);
            graph = nullptr;
        }
        ran_ = settled_ = false;
    }

    static void put_copy(const Place& place, const void* from, const View& to) {
        cuda::copy(place.device(), place.where().stream, from, to.mutable_data(), to.nbytes());
    }
    View copy_of(const Place& place, const View& view) const {
        View copy = fresh(place, p_.dtype, shape_of(view));
        put_copy(place, view.data(), copy);
        return copy;
    }

    std::shared_ptr<const DeviceLayer> layer_;
    Problem p_;
    ForwardCall call_{};
    View x_;                    // (B, I), or tokens (B,)
    View output_[2];            // (B, H)
    std::vector<View> state_;   // each (B, H)
    std::optional<View> term_;  // (B, Gx*H)
    Reserve scratch_;
    cuda::Recorded* graphs_[2] = {};  // one for each output; null: not made
    int turn_ = 0;
    int set_ = 0;
    bool tf32_ = false;
    bool settled_ = false;
    bool ran_ = false;  // a step has been run as it is recorded
    std::atomic<bool> busy_{false};
};

// What Python holds of them (make_owned).
struct DeviceLayerHandle {
    std::shared_ptr<DeviceLayer> layer;
};
struct DeviceStepperHandle {
    std::unique_ptr<DeviceStepper> stepper;
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
    handle.stepper = std::make_unique<DeviceStepper>(layer.layer, place, batch, noise);
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
        .def(
            "step",
            [](DeviceStepperHandle& of, const Place& place, const View& x) { return of.stepper->step(place, x); },
            py::arg("place"), py::arg("x"))
        .def(
            "state", [](DeviceStepperHandle& of, const Place& place) { return of.stepper->state(place); },
            py::arg("place"))
        .def(
            "reset",
            [](DeviceStepperHandle& of, const Place& place, const OptionalState& state, const OptionalArray& term) {
                of.stepper->reset(place, state, term);
            },
            py::arg("place"), py::arg("state").none(true), py::arg("term").none(true))
        .def(
            "term", [](DeviceStepperHandle& of, const Place& place) { return of.stepper->term(place); },
            py::arg("place"))
        .def_property_readonly("graphs", [](const DeviceStepperHandle& of) { return of.stepper->graphs(); });
    m.def("stepper", &make_stepper, py::arg("place"), py::arg("layer"), py::arg("batch_size"),
          py::arg("noise").none(true));
}

}  // namespace rnnkernels::binding
