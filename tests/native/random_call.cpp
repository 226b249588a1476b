// The kinds of call of random_call.h.
#include "random_call.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "binding/ragged_lengths.h"
#include "check.h"
#include "compare.h"

namespace native {
namespace {

using rnnkernels::Watch;
using rnnkernels::WeightStorage;
using rnnkernels::binding::RaggedLengths;

enum class Kind { inference, training, prepared, coarse, layers, elements };
constexpr const char* kKinds[] = {"inference",        "training",        "prepared", "prepared in bfloat16",
                                  "layers on layers", "dropped elements"};

template <class T>
class Call final : public RandomCall {
public:
    Call(int set, Kind kind, std::vector<Problem<T>> layers) : set_(set), kind_(kind), layers_(std::move(layers)) {}

    std::string text() const override {
        const Problem<T>& p = layers_[0];
        const auto size = [](const char* name, Index value) { return std::string(name) + std::to_string(value); };
        const Options& o = p.options;
        return std::string(kKinds[static_cast<int>(kind_)]) + ", " + backend().set_name(set_) + ", " + p.info().name +
               (sizeof(T) == 4 ? ", float32" : ", float64") + size(", T ", p.shape.steps) + size(" B ", p.shape.batch) +
               size(" I ", p.shape.input) + size(" H ", p.shape.hidden) + (p.ragged ? ", ragged" : "") +
               (o.bias ? ", biases" : "") + (o.tokens ? ", tokens" : "") + (o.state ? ", state" : "") +
               (o.d_state ? ", d_state" : "") + (o.noise ? ", noise" : "") + (o.term ? ", term" : "") +
               (o.all_states ? ", all states" : "") +
               (layers_.size() > 1 ? size(", layers: ", static_cast<Index>(layers_.size())) : "");
    }

    void answer() override {
        backend().set_num_threads(1);
        expected_ = make(nullptr);
    }

    void repeat(Watch* watch) const override {
        const std::vector<Results<T>> found = make(watch);
        for (std::size_t part = 0; part < found.size(); ++part) {
            const Results<T>& results = found[part];
            if (const auto array = written_outside(results))
                fail("%s: wrote outside %s", text().c_str(), array->c_str());
            for (std::size_t a = 0; a < results.arrays.size(); ++a) compare(part, a, results);
        }
    }

    bool divided(int threads) const override {
        const Problem<T>& p = layers_[0];
        return backend().plan(set_, p.cell, dtype_of<T>, rnnkernels::WeightStorage::full, p.shape, threads).threads > 1;
    }

private:
    void compare(std::size_t part, std::size_t a, const Results<T>& found) const {
        const Array<T>& wanted = expected_[part].arrays[a];
        const auto count = static_cast<Index>(wanted.size());
        const Index i = first_difference(found.arrays[a].data(), wanted.data(), count);
        if (i == count) return;
        const auto at = static_cast<std::size_t>(i);
        fail("%s: %s[%zu] is %.17g, on one thread %.17g", text().c_str(), found.names[a].c_str(), at,
             static_cast<double>(found.arrays[a][at]), static_cast<double>(wanted[at]));
    }

    std::vector<Results<T>> make(Watch* watch) const {
        switch (kind_) {
            case Kind::training: return train(watch);
            case Kind::prepared: return infer_prepared(WeightStorage::full, watch);
            case Kind::coarse: return infer_prepared(WeightStorage::bfloat16, watch);
            case Kind::layers: return infer_layers(watch);
            case Kind::elements: return drop();
            case Kind::inference: break;
        }
        std::vector<Results<T>> made(1);
        rnnkernels::ForwardCall call = forward_call(set_, layers_[0], false, made[0]);
        call.in.watch = watch;
        backend().forward(set_, layers_[0].cell, dtype_of<T>, call);
        return made;
    }

    std::vector<Results<T>> train(Watch* watch) const {
        std::vector<Results<T>> made(2);
        const Problem<T>& p = layers_[0];
        rnnkernels::ForwardCall call = forward_call(set_, p, true, made[0]);
        call.in.watch = watch;
        backend().forward(set_, p.cell, dtype_of<T>, call);
        rnnkernels::BackwardCall back = backward_call(p, call, made[1]);
        back.in.watch = watch;
        backend().backward(set_, p.cell, dtype_of<T>, back);
        return made;
    }

    // Also the weights as they are packed: threads divide that as well.
    std::vector<Results<T>> infer_prepared(WeightStorage storage, Watch* watch) const {
        const Problem<T>& p = layers_[0];
        const auto discard = [&](void* prepared) { backend().discard(set_, p.cell, dtype_of<T>, prepared); };
        const std::unique_ptr<void, decltype(discard)> prepared(
            backend().prepare(set_, p.cell, dtype_of<T>, p.inputs(), {storage}, true), discard);
        std::vector<Results<T>> made(1);
        const Index bytes = backend().prepared_bytes(set_, p.cell, dtype_of<T>, prepared.get());
        T* const packed =
            made[0].add("packed", (bytes + static_cast<Index>(sizeof(T)) - 1) / static_cast<Index>(sizeof(T)));
        backend().read_prepared(set_, p.cell, dtype_of<T>, prepared.get(), packed);
        rnnkernels::ForwardCall call = forward_call(set_, p, false, made[0]);
        call.in.weight_ih = call.in.weight_hh = call.in.bias_ih = call.in.bias_hh = nullptr;
        call.in.weight_gg = call.in.weight_diagonal = call.in.weight_hr = nullptr;
        call.prepared = prepared.get();
        call.in.watch = watch;
        backend().forward(set_, p.cell, dtype_of<T>, call);
        return made;
    }

    std::vector<Results<T>> infer_layers(Watch* watch) const {
        std::vector<Results<T>> made(layers_.size());
        std::vector<rnnkernels::ForwardCall> calls;
        for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
            rnnkernels::ForwardCall call = forward_call(set_, layers_[layer], false, made[layer]);
            if (layer > 0) call.in.x = calls.back().output;
            call.in.watch = watch;
            calls.push_back(call);
        }
        backend().forward_layers(set_, layers_[0].cell, dtype_of<T>, calls.data(), static_cast<int>(calls.size()));
        return made;
    }

    std::vector<Results<T>> drop() const {
        const Problem<T>& p = layers_[0];
        std::vector<Results<T>> made(1);
        rnnkernels::ElementDropout call{};
        call.rows = p.slots(), call.columns = p.shape.input;
        call.from = p.x.data(), call.to = made[0].add("dropped", call.rows * call.columns);
        call.rate = 0.25, call.seed = 7, call.layer = 3;
        backend().drop(set_, dtype_of<T>, call);
        return made;
    }

    int set_;
    Kind kind_;
    std::vector<Problem<T>> layers_;
    std::vector<Results<T>> expected_;
};

// Half of them small, where a thread may find nothing to do; the others often divided.
Shape draw_shape(Random& random, Kind kind) {
    if (kind == Kind::layers && !once_in(random, 3))  // what runs as a wavefront
        return {between(random, 16, 40), between(random, 1, 3), between(random, 1, 40), between(random, 24, 72)};
    if (kind == Kind::elements) return {between(random, 0, 40), between(random, 0, 20), between(random, 1, 200), 1};
    const Index hidden = once_in(random, 4) ? between(random, 1, 16) : between(random, 17, 200);
    return {between(random, 0, 40), between(random, 0, 20), between(random, 1, 40), hidden};
}

std::optional<RaggedLengths> draw_lengths(Random& random, const Shape& shape) {
    if (!once_in(random, 3)) return std::nullopt;
    std::vector<Index> lengths;
    for (Index row = 0; row < shape.batch; ++row) lengths.push_back(between(random, 0, shape.steps));
    std::vector<std::uint8_t> resets;
    const std::uint32_t rare = static_cast<std::uint32_t>(between(random, 2, 20));
    for (Index slot = 0; slot < shape.steps * shape.batch; ++slot) resets.push_back(once_in(random, rare) ? 1 : 0);
    const bool reverse = once_in(random, 2);
    return RaggedLengths(lengths, reverse, once_in(random, 2) ? resets.data() : nullptr);
}

template <class T>
std::unique_ptr<RandomCall> draw(Random& random, int set, Index most_work) {
    Kind kind = static_cast<Kind>(random.next() % 6);
    if (once_in(random, 4)) kind = Kind::training;  // most of what threads do
    if (kind == Kind::coarse && sizeof(T) != sizeof(float)) kind = Kind::prepared;
    const auto cell = static_cast<int>(random.next() % static_cast<std::uint32_t>(backend().cell_count()));
    const CellInfo& info = backend().cell(cell);
    Shape shape = draw_shape(random, kind);
    const auto work = [&] {
        const Index rows = info.input_rows * shape.input + (info.hidden_rows + info.gate_rows) * shape.hidden;
        return shape.steps * shape.batch * shape.hidden * rows * (kind == Kind::training ? 3 : 1);
    };
    while (work() > most_work && shape.steps > 3) --shape.steps;
    while (work() > most_work && shape.batch > 1) --shape.batch;
    const bool alone = kind == Kind::prepared || kind == Kind::coarse || kind == Kind::layers;
    const Options options{once_in(random, 2),
                          once_in(random, 3) && kind != Kind::elements,
                          once_in(random, 2),
                          once_in(random, 2),
                          once_in(random, 3) && !(kind == Kind::prepared || kind == Kind::coarse),
                          once_in(random, 4) && !alone,
                          once_in(random, 4) && !alone};
    const auto lengths = kind == Kind::layers ? std::nullopt : draw_lengths(random, shape);
    std::vector<Problem<T>> layers;
    layers.push_back(make_problem<T>(cell, shape, options, lengths ? &*lengths : nullptr));
    const Index count = kind == Kind::layers ? between(random, 2, 5) : 1;
    for (Index layer = 1; layer < count; ++layer) {
        Options above = options;
        above.tokens = false;
        Shape on_top = layers[0].shape;
        on_top.input = layers[0].width(0);
        layers.push_back(make_problem<T>(cell, on_top, above));
    }
    return std::make_unique<Call<T>>(set, kind, std::move(layers));
}

}  // namespace

std::unique_ptr<RandomCall> draw_call(Random& random, Index most_work) {
    int set = backend().set_count() - 1;
    if (once_in(random, 4)) set = static_cast<int>(random.next() % static_cast<std::uint32_t>(set + 1));
    return once_in(random, 3) ? draw<double>(random, set, most_work) : draw<float>(random, set, most_work);
}

}  // namespace native
