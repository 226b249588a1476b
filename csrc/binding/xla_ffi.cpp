// A forward and a backward of one layer as functions that XLA's programs call (python/rnnkernels/jax/ makes the calls).
//
// No Python here but for the capsules at the end: XLA calls on threads of its own, without the GIL. Shapes are known
// when a program is made and are checked there, in the user's words; here they are checked again, since memory is at
// stake. What only the values say (tokens, lengths) is checked here alone.
//
// Arguments  parameters that are there, in the order of Layer · x (T, B, I) or int32/int64 tokens (T, B) · states
//            (B, H) each, if given · lengths (B,), if given · resets (T, B) of bytes, if given · reset states (B, H)
//            each, if given; of a backward also output (T, B, H) · reserve · d_output (T, B, H) · d_state (B, H) each
// Results    of a forward: output · states · reserve (bytes), if it is to be kept
//            of a backward: dx, if wanted · dparameters · d_state, if a state was given · d_reset_state, if one was
#include "xla_ffi.h"

#include <exception>
#include <stdexcept>

#include "ragged_lengths.h"
#include "xla_buffers.h"

namespace rnnkernels::binding {
namespace {

// Bits of the attribute "options"; those below are the parameters that are there.
constexpr int kParameters = 7;
constexpr std::int64_t kHasState = 1 << 7, kHasLengths = 1 << 8, kReverse = 1 << 9, kWantsDx = 1 << 10,
                       kHasResets = 1 << 11, kHasResetState = 1 << 12, kBfloat16Products = 1 << 13, kTf32 = 1 << 14;

// What forward and backward have in common: the layer, what it is given, how its rows are walked.
struct Layered {
    XlaMemory& memory;
    Problem problem{};
    int set = 0;
    std::int64_t options = 0;
    Dims parameters[kParameters]{};  // shapes; empty: not there
    std::vector<std::int64_t> tokens{};
    std::optional<RaggedLengths> ragged{};
    const void* reset_state[kMaxStates] = {};  // null: zeros

    explicit Layered(XlaMemory& where) : memory(where) {}

    bool has(std::int64_t option) const { return (options & option) != 0; }
    Index steps() const { return problem.steps; }
    Index batch() const { return problem.batch; }
    std::size_t number_size() const { return number_bytes(code_of(problem.dtype)); }
    Dims row_state(int k) const { return {batch(), problem.width(k)}; }
    Index reserve_bytes() const {
        const Inputs& in = problem.in;
        return backend().reserve_size(set, problem.cell, problem.dtype, in.shape.hidden, false) * problem.rows();
    }
};

void read_layer(Layered& call, XlaReader& from) {
    static constexpr const char* names[kParameters] = {"weight_ih", "weight_hh",       "bias_ih",  "bias_hh",
                                                       "weight_gg", "weight_diagonal", "weight_hr"};
    Problem& p = call.problem;
    const CellInfo& info = p.info();
    const void* data[kParameters] = {};
    for (int k = 0; k < kParameters; ++k) {
        if (!call.has(std::int64_t{1} << k)) continue;
        const xla::Buffer& found = from.peek();
        if (k == 0) p.dtype = dtype_of(found, names[k]);
        call.parameters[k] = dims_of(found);
        data[k] = from.take(names[k], code_of(p.dtype), call.parameters[k]);
    }
    const Dims &ih = call.parameters[0], &hh = call.parameters[1], &hr = call.parameters[6];
    if (ih.size() != 2) throw std::logic_error("weight_ih: expected two dimensions, got " + text_of(ih));
    const Index hidden = hr.size() == 2 ? hr[1] : hh.size() == 2 ? hh[1] * info.heads : ih[0] / info.input_rows;
    const Index width = info.projected && hr.size() == 2 ? hr[0] : hidden;
    p.in.shape = {0, 0, ih[1], hidden, info.projected ? width : 0, info.element_count * hidden};
    const Dims wanted[kParameters] = {{info.input_rows * hidden, ih[1]},
                                      {info.hidden_rows * hidden, width / info.heads},
                                      {info.input_rows * hidden},
                                      {info.hidden_rows * hidden},
                                      {info.gate_rows * hidden, info.gate_columns * hidden},
                                      {info.diagonal_count * hidden},
                                      {width, hidden}};
    const bool needed[kParameters] = {
        true, info.hidden_rows > 0, false, false, info.gate_rows > 0, info.diagonal_count > 0, info.projected};
    for (int k = 0; k < kParameters; ++k) {
        const bool there = !call.parameters[k].empty();
        if ((needed[k] && !there) || (there && call.parameters[k] != wanted[k]))
            throw std::logic_error(std::string(names[k]) + ": expected shape " + text_of(wanted[k]) + ", got " +
                                   text_of(call.parameters[k]));
    }
    if (hidden < 1 || ih[1] < 1 || (info.direct && ih[1] != hidden))
        throw std::logic_error("weight_ih: expected sizes that fit the cell, got " + text_of(ih));
    p.in.weight_ih = data[0];
    p.in.weight_hh = data[1] ? data[1] : empty_array;  // a cell without one is given an empty one
    p.in.bias_ih = data[2];
    p.in.bias_hh = data[3];
    p.in.weight_gg = data[4];
    p.in.weight_diagonal = data[5];
    p.in.weight_hr = data[6];
}

void read_tokens(Layered& call, const void* array, bool wide) {
    const Index batch = call.batch(), count = call.steps() * batch, limit = call.problem.in.shape.input;
    const void* data = call.memory.read(array, static_cast<std::size_t>(count) * (wide ? 8 : 4));
    call.tokens.resize(static_cast<std::size_t>(std::max<Index>(count, 1)));
    for (Index i = 0; i < count; ++i) {
        const std::int64_t token =
            wide ? static_cast<const std::int64_t*>(data)[i] : static_cast<const std::int32_t*>(data)[i];
        if (token < 0 || token >= limit)
            throw std::invalid_argument("x: expected tokens in [0, " + std::to_string(limit) + "), got " +
                                        std::to_string(token) + " at [" + std::to_string(i / batch) + ", " +
                                        std::to_string(i % batch) + "]");
        call.tokens[static_cast<std::size_t>(i)] = token;
    }
    call.problem.in.tokens =
        static_cast<std::int64_t*>(call.memory.put(call.tokens.data(), call.tokens.size() * sizeof(std::int64_t)));
}

std::vector<Index> read_lengths(Layered& call, XlaReader& from) {
    std::vector<Index> lengths(static_cast<std::size_t>(call.batch()), call.steps());
    if (!call.has(kHasLengths)) return lengths;
    const int dtype = from.peek().dtype;
    const bool wide = dtype == xla::kS64;
    const void* data = call.memory.read(from.take("lengths", wide ? xla::kS64 : xla::kS32, {call.batch()}),
                                        lengths.size() * (wide ? 8 : 4));
    for (std::size_t b = 0; b < lengths.size(); ++b) {
        lengths[b] = wide ? static_cast<const std::int64_t*>(data)[b] : static_cast<const std::int32_t*>(data)[b];
        if (lengths[b] < 0 || lengths[b] > call.steps())
            throw std::invalid_argument("lengths: expected 0 to T = " + std::to_string(call.steps()) + ", got " +
                                        std::to_string(lengths[b]) + " at [" + std::to_string(b) + "]");
    }
    return lengths;
}

// Which rows are run, in which order, and what they begin with anew.
void read_rows(Layered& call, XlaReader& from) {
    if (!call.has(kHasLengths | kHasResets | kReverse)) return;
    const std::vector<Index> lengths = read_lengths(call, from);
    const void* resets = nullptr;
    if (call.has(kHasResets))
        resets = call.memory.read(from.take("resets", xla::kU8, {call.steps(), call.batch()}),
                                  static_cast<std::size_t>(call.steps() * call.batch()));
    if (call.has(kHasResetState))
        for (int k = 0; k < call.problem.info().state_count; ++k)
            call.reset_state[k] = from.take("reset_state", code_of(call.problem.dtype), call.row_state(k));
    Inputs& in = call.problem.in;
    call.ragged.emplace(lengths, call.has(kReverse), static_cast<const std::uint8_t*>(resets));
    in.starts = call.ragged->starts().data();
    const std::vector<Index>& places = call.ragged->places();
    in.places =
        static_cast<const Index*>(call.memory.put(const_cast<Index*>(places.data()), places.size() * sizeof(Index)));
    in.shape.steps = call.ragged->steps();
    in.shape.batch = call.ragged->sequences();
}

// The layer, x, the states and the rows.
void read_call(Layered& call, const xla::Frame& frame, XlaReader& from) {
    Problem& p = call.problem;
    p.cell = find_cell(text_attribute(frame, "cell"));
    call.set = find_xla_set(text_attribute(frame, kXlaSet));
    const auto& options = *static_cast<const xla::Scalar*>(attribute(frame, "options", xla::kScalar));
    if (options.dtype != xla::kS64) throw std::logic_error("attribute options: expected int64");
    call.options = *static_cast<const std::int64_t*>(options.value);
    p.in.where = call.memory.where(call.has(kTf32));
    read_layer(call, from);
    if (call.has(kBfloat16Products)) read_products(p, Products::bfloat16);
    const xla::Buffer& x = from.peek();
    const bool tokens = x.dtype == xla::kS32 || x.dtype == xla::kS64;
    if (x.rank != (tokens ? 2 : 3)) throw std::logic_error("x: expected (T, B, I) or tokens (T, B)");
    p.steps = p.in.shape.steps = x.dims[0];
    p.batch = p.in.shape.batch = x.dims[1];
    if (tokens) {
        if (p.in.shape.elements > 0) throw std::logic_error("x: expected vectors, got tokens");
        const int dtype = x.dtype;
        read_tokens(call, from.take("x", dtype, {call.steps(), call.batch()}), dtype == xla::kS64);
    } else {
        p.in.x = from.take("x", code_of(p.dtype), {call.steps(), call.batch(), p.x_row()});
    }
    if (call.has(kHasState))
        for (int k = 0; k < p.info().state_count; ++k)
            p.in.state[k] = from.take("state", code_of(p.dtype), call.row_state(k));
    read_rows(call, from);
}

// Arrays of a ragged batch's sequences (S, width), in the place of those of its rows (B, width). The kernels' are where
// they read them; rows become sequences, and sequences rows, on the host.
struct Packed {
    const Layered& call;
    void* sequences[kMaxStates] = {};

    explicit Packed(const Layered& layered) : call(layered) {}

    void* make(int k) { return sequences[k] = call.memory.fresh(bytes(k)); }
    // What the sequences begin with; null where that is zeros.
    void* begin(const RaggedLengths& ragged, int k, const void* rows) {
        if (!rows && !call.reset_state[k]) return nullptr;
        std::vector<char>& to = on_host(k);
        ragged.begin(read_rows(k, rows), read_rows(k, call.reset_state[k]), to.data(), row_bytes(k));
        return call.memory.put(to.data(), bytes(k));
    }
    void* pack(const RaggedLengths& ragged, int k, const void* rows) {
        std::vector<char>& to = on_host(k);
        ragged.pack(read_rows(k, rows), to.data(), row_bytes(k));
        return call.memory.put(to.data(), bytes(k));
    }
    void unpack(const RaggedLengths& ragged, int k, const void* otherwise, void* rows) const {
        void* to = call.memory.draft(rows, rows_bytes(k));
        ragged.unpack(call.memory.read(sequences[k], bytes(k)), read_rows(k, otherwise), to, row_bytes(k));
        call.memory.publish(to, rows, rows_bytes(k));
    }
    // Gradients of what the sequences began with, as those of the rows' states and reset states.
    void begin_gradient(const RaggedLengths& ragged, int k, const void* ended, void* rows, void* reset) const {
        void* to_rows = rows ? call.memory.draft(rows, rows_bytes(k)) : nullptr;
        void* to_reset = reset ? call.memory.draft(reset, rows_bytes(k)) : nullptr;
        ragged.begin_gradient(call.problem.dtype, call.memory.read(sequences[k], bytes(k)), read_rows(k, ended),
                              to_rows, to_reset, row_bytes(k));
        if (rows) call.memory.publish(to_rows, rows, rows_bytes(k));
        if (reset) call.memory.publish(to_reset, reset, rows_bytes(k));
    }

private:
    std::vector<char> memory_[kMaxStates];

    std::vector<char>& on_host(int k) {
        memory_[k].resize(bytes(k) + 1);
        return memory_[k];
    }
    const void* read_rows(int k, const void* rows) const { return call.memory.read(rows, rows_bytes(k)); }
    std::size_t row_bytes(int k) const { return static_cast<std::size_t>(call.problem.width(k)) * call.number_size(); }
    std::size_t rows_bytes(int k) const { return static_cast<std::size_t>(call.batch()) * row_bytes(k); }
    std::size_t bytes(int k) const { return static_cast<std::size_t>(call.problem.in.shape.batch) * row_bytes(k); }
};

void run_forward(const xla::Frame& frame) {
    XlaMemory memory(frame);
    Layered call(memory);
    XlaReader from(memory, frame.arguments, "argument"), to(memory, frame.results, "result");
    read_call(call, frame, from);
    from.end();
    Problem& p = call.problem;
    const int states = p.info().state_count, dtype = code_of(p.dtype);
    ForwardCall made{};
    made.output = to.fill("output", dtype, p.sequence_shape(0));
    void* finals[kMaxStates] = {};
    for (int k = 0; k < states; ++k) finals[k] = to.fill("state", dtype, call.row_state(k));
    if (to.more()) {
        const Index bytes = call.reserve_bytes();
        made.reserve = to.take_reserve(bytes);
        if (backend().poison()) memory.fill(made.reserve, 0xff, static_cast<std::size_t>(bytes));
    }
    to.end();
    const Inputs given = p.in;
    const RaggedLengths* const ragged = call.ragged ? &*call.ragged : nullptr;
    Packed begun(call), ended(call);
    if (ragged) memory.fill(made.output, 0, XlaReader::bytes_of(dtype, p.sequence_shape(0)));
    for (int k = 0; k < states; ++k) {
        made.final_state[k] = ragged ? ended.make(k) : finals[k];
        if (ragged) p.in.state[k] = begun.begin(*ragged, k, given.state[k]);
    }
    made.in = p.in;
    memory.give_workspace(made.in.where, backend().forward_bytes(call.set, p.cell, p.dtype, made));
    backend().forward(call.set, p.cell, p.dtype, made);
    for (int k = 0; ragged && k < states; ++k) ended.unpack(*ragged, k, given.state[k], finals[k]);
}

void run_backward(const xla::Frame& frame) {
    XlaMemory memory(frame);
    Layered call(memory);
    XlaReader from(memory, frame.arguments, "argument"), to(memory, frame.results, "result");
    read_call(call, frame, from);
    Problem& p = call.problem;
    const int states = p.info().state_count, dtype = code_of(p.dtype);
    BackwardCall made{};
    made.output = from.take("output", dtype, p.sequence_shape(0));
    made.reserve = from.take_reserve(call.reserve_bytes());
    made.d_output = from.take("d_output", dtype, p.sequence_shape(0));
    const void* d_finals[kMaxStates] = {};
    for (int k = 0; k < states; ++k) d_finals[k] = from.take("d_state", dtype, call.row_state(k));
    from.end();
    const RaggedLengths* const ragged = call.ragged ? &*call.ragged : nullptr;
    if (call.has(kWantsDx)) {
        const Dims shape{call.steps(), call.batch(), p.x_row()};
        made.dx = to.fill("dx", dtype, shape);
        if (ragged) memory.fill(made.dx, 0, XlaReader::bytes_of(dtype, shape));
    }
    void** const gradients[kParameters] = {&made.dweight_ih, &made.dweight_hh,       &made.dbias_ih,  &made.dbias_hh,
                                           &made.dweight_gg, &made.dweight_diagonal, &made.dweight_hr};
    for (int k = 0; k < kParameters; ++k)
        if (!call.parameters[k].empty()) *gradients[k] = to.fill("dparameter", dtype, call.parameters[k]);
    if (!made.dweight_hh) made.dweight_hh = empty_array;
    void* d_begun[kMaxStates] = {};
    for (int k = 0; call.has(kHasState) && k < states; ++k) d_begun[k] = to.fill("d_state", dtype, call.row_state(k));
    void* d_reset[kMaxStates] = {};
    for (int k = 0; call.has(kHasResetState) && k < states; ++k)
        d_reset[k] = to.fill("d_reset_state", dtype, call.row_state(k));
    to.end();
    Packed begun(call), d_ended(call), d_start(call);
    for (int k = 0; k < states; ++k) {
        made.d_final_state[k] = ragged ? d_ended.pack(*ragged, k, d_finals[k]) : d_finals[k];
        made.d_state[k] = ragged || !d_begun[k] ? d_start.make(k) : d_begun[k];
        if (ragged) p.in.state[k] = begun.begin(*ragged, k, p.in.state[k]);
    }
    made.in = p.in;
    memory.give_workspace(made.in.where, backend().backward_bytes(call.set, p.cell, p.dtype, made));
    backend().backward(call.set, p.cell, p.dtype, made);
    for (int k = 0; ragged && k < states; ++k) d_start.begin_gradient(*ragged, k, d_finals[k], d_begun[k], d_reset[k]);
}

// XLA asks, before it calls, which API a function was made for. It takes those up to its own; the first that could be
// asked (0.1) did not say theirs and took no other.
void answer(const xla::Frame& frame, xla::Metadata& metadata) {
    const int theirs = frame.api ? frame.api->version.minor : 1;
    const int minor = std::min(xla::kApiMinor, theirs);
    metadata.version.major = xla::kApiMajor;
    metadata.version.minor = minor;
    metadata.traits = 0;
}

xla::Error* error_of(const xla::Frame& frame, int code, const char* message) {
    xla::ErrorArguments arguments{sizeof arguments, nullptr, message, code};
    return frame.api->create_error(&arguments);
}

template <void (*run)(const xla::Frame&)>
xla::Error* handle(xla::Frame* frame) {
    for (xla::Extension* each = frame->extension; each; each = each->next)
        if (each->type == xla::kMetadata) {
            answer(*frame, *reinterpret_cast<xla::MetadataExtension*>(each)->metadata);
            return nullptr;
        }
    try {
        if (frame->stage != xla::kExecute) throw std::logic_error("expected to be called to execute");
        run(*frame);
        return nullptr;
    } catch (const std::invalid_argument& error) {
        return error_of(*frame, xla::kInvalidArgument, error.what());
    } catch (const std::exception& error) {
        return error_of(*frame, xla::kInternal, (std::string("rnnkernels: ") + error.what()).c_str());
    }
}

}  // namespace

void bind_xla_ffi(py::module_& m) {
    m.def("xla_ffi_handlers", [] {
        py::dict handlers;
        handlers["forward"] = py::capsule(reinterpret_cast<void*>(&handle<run_forward>));
        handlers["backward"] = py::capsule(reinterpret_cast<void*>(&handle<run_backward>));
        return handlers;
    });
}

}  // namespace rnnkernels::binding
