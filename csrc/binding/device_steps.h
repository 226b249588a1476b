// Single steps on a GPU: a layer's states (DeviceStates), and steps of it or of layers on layers (DeviceSteps).
//
// All that a step reads or writes lies where the step before had it, so that it is a graph that runs again: one launch,
// of all layers. Two graphs, since each h goes into one of two arrays that take turns. A layer on another reads h of
// the one below where it lies. Not here: how calls are recorded (cuda/graph.h).
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "device_layer.h"

namespace rnnkernels::binding {

// A layer, a batch and its states.
class DeviceStates {
public:
    DeviceStates(std::shared_ptr<const DeviceLayer> layer, const Place& place, Index batch, const OptionalNoise& noise)
        : layer_(std::move(layer)), p_(layer_->problem_at(place)) {
        check_batch_size(batch);
        p_.in.shape.steps = p_.steps = 1;
        p_.in.shape.batch = p_.batch = batch;
        read_noise(p_, noise);
        call_.in = p_.in;
        for (View& output : output_) output = fresh(place, p_.dtype, {batch, p_.width(0)});
        for (int k = 0; k < p_.info().state_count; ++k) {
            state_.push_back(fresh_zeros(place, p_.dtype, p_.state_shape(k)));
            call_.in.state[k] = call_.final_state[k] = state_.back().mutable_data();  // updated in place
        }
    }

    std::atomic<bool>& busy() { return busy_; }
    const DeviceLayer& layer() const { return *layer_; }
    Index batch() const { return p_.batch; }
    Index width() const { return p_.width(0); }
    // h after a step, in the array whose turn it was.
    const View& output(int turn) const { return output_[turn]; }
    // How often what a recorded step has in it has changed: its memory, whether there is a term.
    int changes() const { return changes_; }

    // That x can be the next step's.
    void check_x(const Place& place, const View& x) const {
        check_kind(x, layer_->tokens());
        Problem given = layer_->problem_at(place);
        read_x(given, x, true);
        check_step_rows(given.batch, batch());
    }
    // That it can be on another.
    void check_on(const DeviceStates& below) const {
        const Problem &mine = p_, &other = below.p_;
        if (mine.place.device() != other.place.device() || mine.dtype != other.dtype || batch() != below.batch() ||
            layer_->tokens() || mine.x_row() != below.width())
            throw py::value_error(
                "steppers: expected each on the device, and of the dtype, batch and width, of the h below");
    }
    // Room for x, (B, I) or tokens (B,), of a layer that no other feeds.
    View room_for_x(const Place& place) const {
        return layer_->tokens() ? place.allocate({batch()}, "int64") : fresh(place, p_.dtype, {batch(), p_.x_row()});
    }

    // The next step as a call, its x at an address.
    cuda::GatheredCall call(const Place& place, int set, int turn, const void* x) {
        call_.in.x = layer_->tokens() ? nullptr : x;
        call_.in.tokens = layer_->tokens() ? static_cast<const std::int64_t*>(x) : nullptr;
        call_.output = output_[turn].mutable_data();
        call_.in.where = place.where();
        call_.in.where.workspace = scratch_.data();
        call_.in.where.workspace_bytes = static_cast<Index>(scratch_.bytes());
        return {set, p_.cell, p_.dtype, false, call_, {}};
    }
    // Takes the scratch memory that such a call wants.
    void make_room(const Place& place, const cuda::GatheredCall& of) {
        if (grow(scratch_, place, backend().forward_bytes(of.set, of.cell, of.dtype, of.forward))) ++changes_;
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
        given.in.shape.batch = given.batch = batch();
        const void* from[kMaxStates] = {};
        read_state(given, "state", state, from);
        if (term) {
            read_term(given, term);
            if (!term_) {
                term_ = fresh(place, p_.dtype, shape_of(*term));
                call_.in.term = term_->data();
                ++changes_;
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

    py::object term(const Place& place) {
        const Hold hold(busy_);
        return term_ ? as_object(copy_of(place, *term_)) : py::none();
    }

private:
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
    View output_[2];            // (B, H)
    std::vector<View> state_;   // each (B, H)
    std::optional<View> term_;  // (B, Gx*H)
    Reserve scratch_;
    int changes_ = 0;
    std::atomic<bool> busy_{false};
};

// One step of layers on layers, the first layer first, or of a layer alone.
class DeviceSteps {
public:
    DeviceSteps(const Place& place, std::vector<std::shared_ptr<DeviceStates>> layers) : layers_(std::move(layers)) {
        if (layers_.empty()) throw py::value_error("steppers: expected one or more, got none");
        for (std::size_t k = 1; k < layers_.size(); ++k) layers_[k]->check_on(*layers_[k - 1]);
        x_ = layers_[0]->room_for_x(place);
    }
    ~DeviceSteps() { forget(); }
    DeviceSteps(const DeviceSteps&) = delete;
    DeviceSteps& operator=(const DeviceSteps&) = delete;

    // h of the last layer, in one of two arrays that take turns: the last result may be the next x, which is copied.
    View step(const Place& place, const View& x) {
        const HoldAll hold(layers_);
        layers_[0]->check_x(place, x);
        settle(place);
        void* const stream = place.where().stream;
        const bool recorded = cuda::is_recorded_stream(place.device(), stream);
        {
            const Released released;
            cuda::copy(place.device(), stream, x.data(), x_.mutable_data(), x_.nbytes());
            put(place, stream, recorded);
        }
        const View& output = layers_.back()->output(turn_);
        turn_ = 1 - turn_;
        return output;
    }

    // How many steps have been recorded: 0, 1 or 2.
    int graphs() const { return (graphs_[0] ? 1 : 0) + (graphs_[1] ? 1 : 0); }

private:
    // Hold of every layer, or of none.
    class HoldAll {
    public:
        explicit HoldAll(const std::vector<std::shared_ptr<DeviceStates>>& layers) : layers_(layers) {
            for (; held_ < layers_.size(); ++held_)
                if (layers_[held_]->busy().exchange(true)) {
                    give_back();
                    throw std::runtime_error(kOneAtATime);
                }
        }
        ~HoldAll() { give_back(); }
        HoldAll(const HoldAll&) = delete;
        HoldAll& operator=(const HoldAll&) = delete;

    private:
        void give_back() {
            while (held_ > 0) layers_[--held_]->busy() = false;
        }
        const std::vector<std::shared_ptr<DeviceStates>>& layers_;
        std::size_t held_ = 0;
    };

    // Makes the calls of the step at hand: each x is the h of the layer below.
    void gather(const Place& place) {
        calls_.clear();
        const void* x = x_.data();
        for (const auto& layer : layers_) {
            calls_.push_back(layer->call(place, set_, turn_, x));
            x = layer->output(turn_).data();
        }
    }

    // Puts the step at hand into a stream: the first piece by piece, since a kernel that is compiled, or a library that
    // is loaded, must be there before anything is recorded; then as graphs. In a stream of the caller's recording its
    // pieces belong there.
    void put(const Place& place, void* stream, bool recorded) {
        if (recorded || !ran_ || layers_[0]->batch() == 0) {
            gather(place);
            for (const cuda::GatheredCall& each : calls_)
                backend().forward(each.set, each.cell, each.dtype, each.forward);
            ran_ = ran_ || !recorded;
            return;
        }
        auto& graph = graphs_[turn_];
        if (!graph) {
            gather(place);
            graph = cuda::record_forwards(calls_.data(), static_cast<int>(calls_.size()));
        }
        cuda::run_recorded(graph, place.device(), stream);
    }

    // The kernel, the settings and the layers of now; graphs that were made of others go.
    void settle(const Place& place) {
        const int set = backend().current_set();
        const bool tf32 = place.where().tf32;
        if (settled_ && set == set_ && tf32 == tf32_ && changes() == changes_) return;
        forget();
        set_ = set, tf32_ = tf32;
        gather(place);
        for (std::size_t k = 0; k < layers_.size(); ++k) layers_[k]->make_room(place, calls_[k]);
        changes_ = changes();
        settled_ = true;
    }
    int changes() const {
        int sum = 0;
        for (const auto& layer : layers_) sum += layer->changes();
        return sum;
    }
    void forget() {
        for (cuda::Recorded*& graph : graphs_) {
            cuda::discard_recorded(graph);
            graph = nullptr;
        }
        ran_ = settled_ = false;
    }

    std::vector<std::shared_ptr<DeviceStates>> layers_;
    std::vector<cuda::GatheredCall> calls_;  // of the step at hand
    View x_;                                 // (B, I), or tokens (B,)
    cuda::Recorded* graphs_[2] = {};         // one for each turn; null: not made
    int turn_ = 0;
    int set_ = 0;
    int changes_ = 0;
    bool tf32_ = false;
    bool settled_ = false;
    bool ran_ = false;  // a step has been run as it is recorded
};

}  // namespace rnnkernels::binding
