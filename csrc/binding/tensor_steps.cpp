// The class of tensor_steps.h. Packed weights are right for as long as the tensors they were made of have the
// same bytes, and PyTorch's counters of changes do not say so: x.data, NumPy and other processes write past them. So
// the bytes are kept beside the packed weights, and each step compares; the counters are looked at where a user trusts
// them. Large weights of few rows are read where they lie instead: to compare would take as long as to multiply.
#include "tensor_steps.h"

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "prepared_layer.h"
#include "tensor_view.h"

namespace rnnkernels::binding {
namespace {

// How a call's x and states are shaped.
enum class Kind {
    cell,         // x (B, I) or (I,), states (B, H) or (H,); there is no output
    layers,       // x (1, B, I), or without a batch (1, I), states (L, B, H) or (L, H)
    batch_first,  // x (B, 1, I), or without a batch (1, I)
};

// What a weight was packed from: the parameter, its memory (while that is kept no other tensor lies there) and its
// counter of changes, which is trusted.
using Origin = std::tuple<py::object, py::object, Index>;
// A parameter's name, which one it is of which layer, and the array that was packed.
using WeightPacked = std::tuple<py::str, std::string, std::size_t, py::array, std::optional<Origin>>;

// Where a layer's parameter of this name stands in a call.
const void* Inputs::* place_of(const std::string& name) {
    static constexpr std::pair<const char*, const void* Inputs::*> places[] = {
        {"weight_ih", &Inputs::weight_ih}, {"weight_hh", &Inputs::weight_hh},
        {"bias_ih", &Inputs::bias_ih},     {"bias_hh", &Inputs::bias_hh},
        {"weight_gg", &Inputs::weight_gg}, {"weight_diagonal", &Inputs::weight_diagonal},
        {"weight_hr", &Inputs::weight_hr}};
    for (const auto& [known, place] : places)
        if (name == known) return place;
    throw py::value_error("weights: expected the names of a layer's parameters, got '" + name + "'");
}

// Bytes of a call's weights from which on few rows are multiplied with them as they lie.
constexpr std::size_t kLarge = 256 * 1024;

// Layers on layers, of one direction. Never changed once made.
class TensorSteps {
public:
    TensorSteps(const std::vector<const PreparedHandle*>& layers, const std::vector<WeightPacked>& weights,
                py::tuple types)
        : layers_(layers_of(layers)), tensors_(first().dtype, std::move(types)) {
        std::size_t size_of_all = 0;
        bool packs = false;  // in every call, one of the weights: what makes h of a projected cell's state
        for (const auto& [path, name, layer, array, origin] : weights) {
            if (layer >= layers_.size()) throw py::value_error("weights: expected the number of a layer");
            const auto size = static_cast<std::size_t>(array.nbytes());
            Weight& weight = weights_.emplace_back(
                Weight{path, array, size, shape_of(array), layer, place_of(name), py::none(), {}, 0});
            checked({}, array, "weights", first().dtype, weight.shape, "of a layer");
            size_of_all += size;
            packs = packs || name == "weight_hr";
            if (!origin) continue;
            std::tie(weight.parameter, weight.memory.tensor, weight.version) = *origin;
            if (!tensors_.view(weight.memory.tensor, weight.memory)) weight.parameter = py::none();
        }
        large_ = size_of_all >= kLarge && !packs;
    }

    // The output, but for a cell, and the states after the step. None: this class does not serve the call. False: the
    // weights are no longer those that were packed. Nothing is done then.
    py::object step(const py::object& x, const py::object& state, const py::dict& parameters, Kind kind) const {
        View input;
        if (!tensors_.view(x, input) || input.shape.empty() || input.shape.back() != first().x_row()) return py::none();
        const Index batch = batch_of(input.shape, kind);
        if (batch < 1) return py::none();

        const auto states = static_cast<std::size_t>(first().info().state_count);
        std::vector<View> before(states), after(states);
        for (std::size_t k = 0; k < states; ++k) after[k].shape = state_shape(input.shape, batch, k, kind);
        if (!state.is_none()) {
            if (!PyTuple_Check(state.ptr()) || py::len(state) != states) return py::none();
            const auto given = py::reinterpret_borrow<py::tuple>(state);
            for (std::size_t k = 0; k < states; ++k)
                if (!tensors_.view(given[k], before[k]) || before[k].shape != after[k].shape) return py::none();
        }
        std::vector<View> weights(weights_.size());
        bool known = true;     // that all of them are what was packed
        bool counted = false;  // a counter that is trusted says that one is not
        for (std::size_t i = 0; i < weights.size(); ++i) {
            const Weight& packed = weights_[i];
            if (!parameters.contains(packed.name)) return py::none();
            const py::object parameter = parameters[packed.name];
            if (!tensors_.view(parameter, weights[i])) return py::none();
            if (weights[i].shape != packed.shape) return py::bool_(false);
            const bool is_known = unchanged(packed, parameter, weights[i]);
            known = known && is_known;
            counted = counted || (!is_known && packed.version >= 0 && !packed.parameter.is_none());
        }
        if (layers_.front()->set() != backend().current_set()) return py::bool_(false);

        View output;
        output.shape = input.shape;
        output.shape.back() = first().width(0);
        if (kind != Kind::cell && !tensors_.make(output)) return py::none();
        for (View& part : after)
            if (!tensors_.make(part)) return py::none();
        const bool in_place = large_ && batch <= kDirectRows && first().in.products == Products::full;
        if (in_place && counted) return py::bool_(false);
        const How how = known ? How::packed : in_place ? How::in_place : How::compared;
        if (!run(input, batch, weights, how, before, output, after)) return py::bool_(false);

        py::tuple results(states + (output.data ? 1 : 0));
        std::size_t at = 0;
        if (output.data) results[at++] = std::move(output.tensor);
        for (View& part : after) results[at++] = std::move(part.tensor);
        return results;
    }

private:
    struct Weight {
        py::str name;
        py::array bytes;
        std::size_t size;  // of these: the array's own word for it counts references, which needs the GIL
        Dims shape;
        std::size_t layer;
        const void* Inputs::* place;
        py::object parameter;  // whose counter is trusted; None: none is
        View memory;
        Index version;
    };
    using Layers = std::vector<std::shared_ptr<const PreparedLayer>>;
    // With which weights a step is made: those that were packed, the same once they have been compared, or the
    // tensors'.
    enum class How { packed, compared, in_place };

    static Layers layers_of(const std::vector<const PreparedHandle*>& handles) {
        if (handles.empty()) throw py::value_error("layers: expected one or more");
        Layers layers;
        for (const PreparedHandle* handle : handles) layers.push_back(handle->layer);
        return layers;
    }
    const Problem& first() const { return layers_.front()->problem(); }

    // B, by the shape of x; 0 where x has not one step.
    static Index batch_of(const Dims& x, Kind kind) {
        if (kind == Kind::cell) return x.size() == 1 ? 1 : x.size() == 2 ? x[0] : 0;
        if (x.size() == 2) return x[0] == 1 ? 1 : 0;
        const std::size_t steps = kind == Kind::batch_first ? 1 : 0;
        return x.size() == 3 && x[steps] == 1 ? x[1 - steps] : 0;
    }
    Dims state_shape(const Dims& x, Index batch, std::size_t state, Kind kind) const {
        const Index width = first().width(static_cast<int>(state));
        const bool batched = x.size() == (kind == Kind::cell ? 2 : 3);
        Dims shape = batched ? Dims{batch, width} : Dims{width};
        if (kind != Kind::cell) shape.insert(shape.begin(), static_cast<Index>(layers_.size()));
        return shape;
    }

    // Whether a counter that is trusted says so.
    bool unchanged(const Weight& packed, const py::object& parameter, const View& now) const {
        return packed.parameter.is(parameter) && packed.memory.data == now.data &&
               tensors_.version(parameter) == packed.version;
    }
    // Whether weights have the bytes that were packed. Runs without the GIL.
    bool same(const std::vector<View>& weights) const {
        for (std::size_t i = 0; i < weights.size(); ++i) {
            const Weight& packed = weights_[i];
            if (std::memcmp(weights[i].data, packed.bytes.data(), packed.size) != 0) return false;
        }
        return true;
    }

    // False, and nothing is done, where the weights are others.
    bool run(const View& x, Index batch, const std::vector<View>& weights, How how, const std::vector<View>& before,
             const View& output, const std::vector<View>& after) const {
        Inputs in = first().in;
        in.shape.steps = 1, in.shape.batch = batch;
        in.x = x.data;
        Watched watched(in, layers_.size());
        bool right = false;
        watched.run([&] {
            right = how != How::compared || same(weights);
            if (!right) return;
            for (std::size_t l = 0; l < layers_.size(); ++l) {
                const PreparedLayer& layer = *layers_[l];
                const auto of_layer = [&](const View& state, std::size_t k) {
                    const Index numbers = static_cast<Index>(l) * batch * layer.problem().width(static_cast<int>(k));
                    return state.data + numbers * tensors_.bytes();
                };
                ForwardCall call{};
                call.in = layer.problem().in;
                call.in.shape.steps = 1, call.in.shape.batch = batch;
                call.in.x = in.x;
                call.in.watch = watched.watch();
                for (std::size_t k = 0; k < after.size(); ++k) {
                    call.in.state[k] = before[k].data ? of_layer(before[k], k) : nullptr;
                    call.final_state[k] = of_layer(after[k], k);
                }
                // After one step h is the output: only that of the last layer is asked for twice.
                const bool last = l + 1 == layers_.size();
                call.output = last && output.data ? output.data : call.final_state[0];
                if (how == How::in_place) {
                    for (std::size_t i = 0; i < weights.size(); ++i)
                        if (weights_[i].layer == l) call.in.*weights_[i].place = weights[i].data;
                    layer.run_unpacked(call);
                } else {
                    layer.run(call);
                }
                in.x = call.final_state[0];
            }
        });
        return right;
    }

    Layers layers_;
    Tensors tensors_;
    std::vector<Weight> weights_;
    bool large_;  // few rows may be multiplied with them where they lie
};

// What Python holds of one (make_owned).
struct TensorStepsHandle {
    std::unique_ptr<const TensorSteps> steps;
};

Kind find_kind(const std::string& kind) {
    if (kind == "cell") return Kind::cell;
    if (kind == "layers") return Kind::layers;
    if (kind == "batch_first") return Kind::batch_first;
    throw py::value_error("kind: expected cell, layers or batch_first, got '" + kind + "'");
}

py::object make_tensor_steps(const std::vector<const PreparedHandle*>& layers, const std::vector<WeightPacked>& weights,
                             py::tuple types) {
    py::object made;
    auto& handle = make_owned<TensorStepsHandle>(made);
    handle.steps = std::make_unique<TensorSteps>(layers, weights, std::move(types));
    return made;
}

}  // namespace

void bind_tensor_steps(py::module_& m) {
    py::class_<TensorStepsHandle>(m, "TensorSteps", "Layers that take single steps on tensors; tensor_steps makes one.")
        .def(
            "step",
            [](const TensorStepsHandle& of, const py::object& x, const py::object& state, const py::dict& parameters,
               const std::string& kind) { return of.steps->step(x, state, parameters, find_kind(kind)); },
            py::arg("x"), py::arg("state").none(true), py::arg("parameters"), py::arg("kind"));
    m.def("tensor_steps", &make_tensor_steps, py::arg("layers"), py::arg("weights"), py::arg("types"));
}

}  // namespace rnnkernels::binding
