// The packed weights of one layer, in the layout of one instruction set. Not here: what Python calls it (prepared.cpp,
// tensor_steps.cpp).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <tuple>

#include "prepared_checks.h"
#include "watched.h"

namespace rnnkernels::binding {

// Of int8 weights: of weight_ih, weight_hh, weight_gg, weight_hr.
using Scales = std::optional<std::tuple<OptionalArray, OptionalArray, OptionalArray, OptionalArray>>;

// The argument `weights` of a layer with parameters of this dtype.
inline WeightStorage read_storage(const std::string& weights, Dtype dtype) {
    if (weights == "full") return WeightStorage::full;
    if (weights != "bfloat16" && weights != "int8")
        throw py::value_error("weights: expected full, bfloat16 or int8, got '" + weights + "'");
    if (dtype != Dtype::float32) throw py::type_error("weights: " + weights + " needs float32 parameters, got float64");
    return weights == "int8" ? WeightStorage::int8 : WeightStorage::bfloat16;
}

// Never changed once made.
class PreparedLayer {
public:
    // Of weights; or of the bytes of one that was made alike, for this set: the layer then only says its shapes.
    PreparedLayer(const std::string& cell, const Layer& layer, const std::string& weights, bool tokens,
                  const Settings& settings, int set, const std::optional<py::array>& bytes, Products products,
                  const Scales& scales)
        : problem_(read_parameters({}, cell, layer)), set_(set), tokens_(tokens) {
        Preparation how{};
        how.storage = read_storage(weights, problem_.dtype);
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
    int set() const { return set_; }
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
        check_kind(x, tokens_);
        read_given(p, x, state, schedule, term, noise, {});  // the settings are the layer's
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

    void run(ForwardCall& call) const {
        call.prepared = packed_;
        run_unpacked(call);
    }
    // With weights of the call's, or prepared ones.
    void run_unpacked(const ForwardCall& call) const { backend().forward(set_, problem_.cell, problem_.dtype, call); }

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

// What Python holds of one (make_owned).
struct PreparedHandle {
    std::shared_ptr<const PreparedLayer> layer;
};

}  // namespace rnnkernels::binding
