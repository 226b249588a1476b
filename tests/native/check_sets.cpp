// check_sets: every cell on every instruction set this machine has, without Python. `./check native neon` run it.
//
// A set is compared with the scalar set in float64, which pytest holds to the NumPy reference, and its bitwise
// promises (docs/reproducibility.md) with itself. Results start as NaN between fences. The first mismatch ends the
// program with a sentence and status 1. `check_sets every` takes 32 times as long: see check_cell.
// Not here: wrong arguments, which csrc/binding refuses.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "check.h"
#include "compare.h"

namespace native {

void fail(const char* format, ...) {
    std::printf("\n");
    std::fflush(stdout);
    std::fprintf(stderr, "check_sets: ");
    std::va_list arguments;
    va_start(arguments, format);
    std::vfprintf(stderr, format, arguments);
    va_end(arguments);
    std::fprintf(stderr, "\n");
    std::exit(1);
}

namespace {

// ---- comparisons -------------------------------------------------------------------------------

// Where a comparison stands, for the sentence of a failure.
struct Where {
    const char* set;
    const char* cell;
    const char* dtype;
    Shape shape;
    Options options;

    std::string text() const {
        const auto size = [](Index value) { return std::to_string(value); };
        return std::string(set) + ", " + cell + ", " + dtype + ", T " + size(shape.steps) + " B " + size(shape.batch) +
               " I " + size(shape.input) + " H " + size(shape.hidden) + (options.tokens ? ", tokens" : ", vectors") +
               (options.bias ? ", biases" : "") + (options.state ? ", state" : "") +
               (options.d_state ? ", d_state" : "") + (options.noise ? ", noise" : "");
    }
};

// The largest error allowed, relative to the largest expected magnitude. tests/tolerances.py says where it comes from;
// it is twice that here, where an array may be one number that is left of a sum of larger ones. In double the
// expected values err as well, the scalar set's functions twice as much as the others.
double tolerance(const Shape& s, Index gates, bool gradient, bool is_double) {
    const double unit = is_double ? 3 * std::numeric_limits<double>::epsilon() / 2
                                  : static_cast<double>(std::numeric_limits<float>::epsilon()) / 2;
    const auto steps = static_cast<double>(std::max<Index>(s.steps, 1));
    double length = steps * static_cast<double>(s.input + s.hidden + 8);
    if (gradient) length += steps * static_cast<double>(gates * s.hidden + 8 + s.batch);
    return (gradient ? 4 : 2) * unit * (10 + std::sqrt(length));
}

// What a cell that normalises multiplies rounding by; tests/tolerances.py says why.
double amplification(const CellInfo& info, const Shape& s) {
    const std::string normalisation = info.normalisation;
    if (normalisation == "none" || s.steps * s.batch == 0) return 1;
    const Index least = std::min(s.input, normalisation == "products_and_inner" ? s.hidden - 1 : s.hidden);
    const double rows = 100.0 * static_cast<double>(s.steps * s.batch);
    return std::min(std::pow(rows, 1 / static_cast<double>(std::max<Index>(1, least))), std::sqrt(1e5));
}

// The worst error as a share of the tolerance.
template <class T>
double compare(const Where& where, const Results<T>& found, const Results<double>& expected, double allowed) {
    double worst = 0;
    for (std::size_t a = 0; a < expected.arrays.size(); ++a) {
        const Array<double>& wanted = expected.arrays[a];
        double scale = 1;
        for (std::size_t i = 0; i < wanted.size(); ++i) scale = std::max(scale, std::fabs(wanted[i]));
        for (std::size_t i = 0; i < wanted.size(); ++i) {
            const double error = std::fabs(static_cast<double>(found.arrays[a][i]) - wanted[i]) / (scale * allowed);
            if (!(error <= 1))
                fail("%s: %s[%zu] is %.9g, expected %.9g: %.3g times the tolerance", where.text().c_str(),
                     found.names[a].c_str(), i, static_cast<double>(found.arrays[a][i]), wanted[i], error);
            worst = std::max(worst, error);
        }
    }
    return worst;
}

// `count` values from `first` of array `a` are the bits of `other`, found in the way that `way` names.
template <class T>
void same_bits(const Where& where, const char* way, const Results<T>& one, std::size_t a, Index first, const T* other,
               Index count) {
    const T* mine = one.arrays[a].data() + first;
    const Index i = first_difference(mine, other, count);
    if (i < count)
        fail("%s: %s[%lld] is %.17g, %s %.17g", where.text().c_str(), one.names[a].c_str(),
             static_cast<long long>(first + i), static_cast<double>(mine[i]), way, static_cast<double>(other[i]));
}

template <class T>
void same_bits(const Where& where, const char* way, const Results<T>& one, const Results<T>& other) {
    for (std::size_t a = 0; a < one.arrays.size(); ++a)
        same_bits(where, way, one, a, 0, other.arrays[a].data(), static_cast<Index>(one.arrays[a].size()));
}

template <class T>
void check_fences(const Where& where, const Results<T>& results) {
    if (const auto array = written_outside(results)) fail("%s: wrote outside %s", where.text().c_str(), array->c_str());
}

// ---- parts of a problem ------------------------------------------------------------------------

template <class T>
Array<T> copy_of(const T* from, Index count) {
    Array<T> array(count);
    std::copy(from, from + count, array.data());
    return array;
}

// Step t alone, from the states in `before`.
template <class T>
Problem<T> one_step(const Problem<T>& p, Index t, const std::vector<Array<T>>& before) {
    Problem<T> step = p;
    const Index row = p.shape.batch * p.shape.input;
    step.shape.steps = 1;
    step.x = copy_of(p.x.data() + t * row, row);
    step.tokens.assign(p.tokens.begin() + t * p.shape.batch, p.tokens.begin() + (t + 1) * p.shape.batch);
    step.options.state = t > 0 || p.options.state;
    step.state = before;
    return step;
}

// Row b of the batch alone.
template <class T>
Problem<T> one_row(const Problem<T>& p, Index b) {
    const auto& [steps, batch, input, hidden, projection, elements] = p.shape;
    Problem<T> row = p;
    row.shape.batch = 1;
    row.x = Array<T>(steps * input);
    row.tokens.clear();
    for (Index t = 0; t < steps; ++t) {
        std::copy_n(p.x.data() + (t * batch + b) * input, input, row.x.data() + t * input);
        row.tokens.push_back(p.tokens[static_cast<std::size_t>(t * batch + b)]);
    }
    for (std::size_t s = 0; s < p.state.size(); ++s)
        row.state[s] = copy_of(p.state[s].data() + b * p.width(s), p.width(s));
    return row;
}

// ---- one problem on one set --------------------------------------------------------------------

// A forward that keeps nothing: its arrays.
template <class T>
Results<T> infer(int set, const Problem<T>& p) {
    Results<T> made;
    backend().forward(set, p.cell, dtype_of<T>, forward_call(set, p, false, made));
    return made;
}

// A forward and its backward: the arrays of each.
template <class T>
struct Training {
    Results<T> forward, backward;
};
template <class T>
Training<T> train(int set, const Problem<T>& p, int threads) {
    Training<T> made;
    backend().set_num_threads(threads);
    const rnnkernels::ForwardCall call = forward_call(set, p, true, made.forward);
    backend().forward(set, p.cell, dtype_of<T>, call);
    backend().backward(set, p.cell, dtype_of<T>, backward_call(p, call, made.backward));
    return made;
}

struct Seen {
    double worst = 0;  // error, as a share of the tolerance
    bool row_groups = false;
    bool unit_groups = false;
};

// The nearest bfloat16 of each value, ties to the even one.
Array<float> rounded(Array<float> array) {
    for (std::size_t i = 0; i < array.size(); ++i) {
        std::uint32_t bits = 0;
        std::memcpy(&bits, array.data() + i, sizeof bits);
        bits = (bits + 0x7fffU + ((bits >> 16U) & 1U)) & 0xffff0000U;
        std::memcpy(array.data() + i, &bits, sizeof bits);
    }
    return array;
}

// Weights that were packed before, by two threads, are those that a call packs; the arrays are not looked at again.
template <class T>
void check_prepared(const Where& where, const char* way, int set, const Problem<T>& p,
                    rnnkernels::WeightStorage storage, const Results<T>& whole) {
    backend().set_num_threads(2);
    void* prepared = backend().prepare(set, p.cell, dtype_of<T>, p.inputs(), {storage}, true);
    backend().set_num_threads(1);
    Results<T> made;
    rnnkernels::ForwardCall call = forward_call(set, p, false, made);
    call.in.weight_ih = call.in.weight_hh = call.in.bias_ih = call.in.bias_hh = nullptr;
    call.in.weight_gg = call.in.weight_diagonal = call.in.weight_hr = nullptr;
    call.prepared = prepared;
    backend().forward(set, p.cell, dtype_of<T>, call);
    backend().discard(set, p.cell, dtype_of<T>, prepared);
    same_bits(where, way, whole, made);
}

template <class T>
void check_forward_promises(const Where& where, int set, const Problem<T>& p, const Results<T>& whole) {
    const auto& [steps, batch, input, hidden, projection, elements] = p.shape;
    same_bits(where, "in inference", whole, infer(set, p));
    check_prepared(where, "prepared", set, p, rnnkernels::WeightStorage::full, whole);
    if constexpr (std::is_same_v<T, float>) {
        Problem<T> coarse = p;
        coarse.weight_ih = rounded(p.weight_ih);
        coarse.weight_hh = rounded(p.weight_hh);
        coarse.weight_gg = rounded(p.weight_gg);
        coarse.weight_hr = rounded(p.weight_hr);
        const Results<T> expected = infer(set, coarse);
        check_prepared(where, "prepared in bfloat16", set, p, rnnkernels::WeightStorage::bfloat16, expected);
    }
    std::vector<Array<T>> states = p.state;
    const Index width = p.width(0);
    for (Index t = 0; t < steps; ++t) {
        const Results<T> step = infer(set, one_step(p, t, states));
        same_bits(where, "stepped", whole, 0, t * batch * width, step.arrays[0].data(), batch * width);
        states.assign(step.arrays.begin() + 1, step.arrays.end());
    }
    for (std::size_t s = 0; steps > 0 && s < states.size(); ++s)
        same_bits(where, "stepped", whole, s + 1, 0, states[s].data(), batch * p.width(s));
    if (batch < 2) return;
    for (const Index b : {Index{0}, batch - 1}) {
        const Results<T> alone = infer(set, one_row(p, b));
        for (Index t = 0; t < steps; ++t)
            same_bits(where, "its row alone", whole, 0, (t * batch + b) * width, alone.arrays[0].data() + t * width,
                      width);
        for (std::size_t s = 0; s + 1 < alone.arrays.size(); ++s)
            same_bits(where, "its row alone", whole, s + 1, b * p.width(s), alone.arrays[s + 1].data(), p.width(s));
    }
}

template <class T>
void check_problem(int set, const Problem<T>& p, const Training<double>& expected, Seen& seen) {
    constexpr bool is_double = dtype_of<T> == Dtype::float64;
    const Where where{backend().set_name(set), p.info().name, is_double ? "float64" : "float32", p.shape, p.options};
    const Training<T> found = train(set, p, 1);
    check_fences(where, found.forward);
    check_fences(where, found.backward);
    for (const bool gradient : {false, true}) {
        const double allowed =
            amplification(p.info(), p.shape) * tolerance(p.shape, p.info().gate_count, gradient, is_double);
        const double worst = gradient ? compare(where, found.backward, expected.backward, allowed)
                                      : compare(where, found.forward, expected.forward, allowed);
        seen.worst = std::max(seen.worst, worst);
    }
    // With masks a row or a step alone would have others', and a layer that is prepared has none.
    if (!p.options.noise) check_forward_promises(where, set, p, found.forward);

    const Training<T> shared = train(set, p, 2);
    same_bits(where, "on two threads", found.forward, shared.forward);
    same_bits(where, "on two threads", found.backward, shared.backward);
    const rnnkernels::PlanInfo plan =
        backend().plan(set, p.cell, dtype_of<T>, rnnkernels::WeightStorage::full, p.shape, 2);
    seen.row_groups |= plan.row_groups > 1;
    seen.unit_groups |= plan.unit_groups > 1;
}

void check_shape(int set, int cell, const Shape& shape, unsigned bits, Seen& seen) {
    const Options options{(bits & 1U) != 0, (bits & 2U) != 0, (bits & 4U) != 0, (bits & 8U) != 0, (bits & 16U) != 0};
    const Problem<double> p = make_problem<double>(cell, shape, options);
    const Training<double> expected = train(0, p, 1);
    check_problem(set, make_problem<float>(cell, shape, options), expected, seen);
    check_problem(set, p, expected, seen);
}

constexpr unsigned kOptions = 32;

// Every shape. The choices of options take turns, each meeting about fifteen of a cell's shapes; or, where that is
// quick enough, every shape meets every choice.
void check_cell(int set, int cell, bool every_choice) {
    Seen seen;
    unsigned turn = 0;
    for (const Index steps : {0, 1, 2, 7})
        for (const Index batch : {0, 1, 2, 3, 13})
            for (const Index input : {1, 3, 8, 17, 40})
                for (const Index hidden : {1, 3, 8, 17, 40})
                    for (unsigned i = 0; i < (every_choice ? kOptions : 1); ++i)
                        check_shape(set, cell, {steps, batch, input, hidden}, turn++ % kOptions, seen);
    // Work enough for two threads: by rows, by units, and more steps than a chunk has.
    for (const Shape& shape : {Shape{5, 13, 5, 72}, Shape{3, 1, 4, 230}, Shape{2, 3, 3, 136}, Shape{70, 5, 2, 3}})
        for (const unsigned bits : {0U, 7U, 13U, 29U}) check_shape(set, cell, shape, bits, seen);
    if (!seen.row_groups || !seen.unit_groups)
        fail("%s: no shape of check_sets.cpp divides %s among threads by %s: add a larger one", backend().set_name(set),
             backend().cell(cell).name, seen.row_groups ? "units" : "rows");
    std::printf("%s %.2f, ", backend().cell(cell).name, seen.worst);
    std::fflush(stdout);
}

// Inside a call denormals count as zero; after it the caller's setting is back.
void check_denormals(int set) {
    int cell = 0;
    while (std::string(backend().cell(cell).name) != "rnn_relu") ++cell;
    Problem<float> p = make_problem<float>(cell, {1, 1, 1, 1}, {});
    p.x.data()[0] = 1;
    p.weight_ih.data()[0] = std::numeric_limits<float>::min() / 4;
    const float inside = infer(set, p).arrays[0][0];
    volatile float smallest = std::numeric_limits<float>::min();
    if (inside != 0 || smallest / 4 == 0)
        fail("%s: a denormal is %g inside a call and %g after it", backend().set_name(set), static_cast<double>(inside),
             static_cast<double>(smallest / 4));
}

}  // namespace
}  // namespace native

int main(int count, char** arguments) {
    using native::backend;
    const bool every_choice = count > 1 && std::string(arguments[1]) == "every";
    if (count > 1 && !every_choice) native::fail("usage: check_sets [every]");
    if (std::string(backend().set_name(0)) != "scalar") native::fail("the first set is not the scalar one");
    native::check_features();
    backend().set_poison(true);
    backend().set_oversubscribed(true);  // two threads on one processor, too
    for (int set = 0; set < backend().set_count(); ++set) {
        const auto begin = std::chrono::steady_clock::now();
        std::printf("%s: ULP (float / double) ", backend().set_name(set));
        native::check_functions(set);
        native::check_denormals(set);
        std::printf("low precision: ");
        native::check_low_products(set);
        std::printf("worst share of the tolerance: ");
        for (int cell = 0; cell < backend().cell_count(); ++cell) native::check_cell(set, cell, every_choice);
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
        std::printf("%.1f s: ok\n", seconds.count());
    }
    return 0;
}
