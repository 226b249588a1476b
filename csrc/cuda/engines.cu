// The engines, once for float (and the halves) and once for double, with all bodies that know no cell.
#include "engines.h"

#include "attending_backward.h"
#include "attending_forward.h"

namespace rnnkernels::RNNKERNELS_TARGET {
namespace {

template <class Engine, class Call>
Index run(const Cell& cell, const Call& call, Dtype dtype, const Queue& queue, void* workspace) {
    Arena arena(workspace);
    Engine engine(cell, call, dtype, queue, arena);
    if (workspace) engine.run();
    return arena.used();
}

template <class Engine, class Call>
class PiecesOf : public Pieces {
public:
    PiecesOf(const Cell& cell, const Call& call, Dtype dtype, const Queue& queue, void* workspace)
        : arena_(workspace), engine_(cell, call, dtype, queue, arena_) {}

    void begin() override { engine_.begin(); }
    void take(Index first, Index last) override { engine_.take(first, last); }
    void finish() override {
        if constexpr (requires { engine_.finish_pieces(); })
            engine_.finish_pieces();
        else
            engine_.finish();
    }
    Index next(Index at) const override { return engine_.next(at); }

private:
    Arena arena_;
    Engine engine_;
};

}  // namespace

Index reserve_bytes(const CellTable& table, const Inputs& in, Dtype dtype) {
    return ReserveLayout(table, in.shape.hidden, Rows(in).total(), in.noise.zones, dtype).bytes();
}

PlanInfo plan(const CellTable& table, const Shape& shape, Dtype dtype) {
    const Index batch = shape.batch > 0 ? shape.batch : 1, rows = shape.steps * batch;
    const Index forward = chunk_rows({rows, batch, forward_row_bytes(table, shape, dtype)});
    const Index backward = chunk_rows({rows, batch, backward_row_bytes(table, shape, dtype)});
    return {1, 1, 1, 1, forward / batch, backward / batch};
}

Index put_forward(const Cell& cell, const ForwardCall& call, Dtype dtype, const Queue& queue, void* workspace) {
    if (dtype == Dtype::float64) return run<ForwardEngine<double>>(cell, call, dtype, queue, workspace);
    return run<ForwardEngine<float>>(cell, call, dtype, queue, workspace);
}

Index put_backward(const Cell& cell, const BackwardCall& call, Dtype dtype, const Queue& queue, void* workspace) {
    if (dtype == Dtype::float64) return run<BackwardEngine<double>>(cell, call, dtype, queue, workspace);
    return run<BackwardEngine<float>>(cell, call, dtype, queue, workspace);
}

std::unique_ptr<Pieces> forward_pieces(const Cell& cell, const ForwardCall& call, Dtype dtype, const Queue& queue,
                                       void* workspace) {
    if (dtype == Dtype::float64)
        return std::make_unique<PiecesOf<ForwardEngine<double>, ForwardCall>>(cell, call, dtype, queue, workspace);
    return std::make_unique<PiecesOf<ForwardEngine<float>, ForwardCall>>(cell, call, dtype, queue, workspace);
}

std::unique_ptr<Pieces> backward_pieces(const Cell& cell, const BackwardCall& call, Dtype dtype, const Queue& queue,
                                        void* workspace) {
    if (dtype == Dtype::float64)
        return std::make_unique<PiecesOf<BackwardEngine<double>, BackwardCall>>(cell, call, dtype, queue, workspace);
    return std::make_unique<PiecesOf<BackwardEngine<float>, BackwardCall>>(cell, call, dtype, queue, workspace);
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
