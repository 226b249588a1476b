// The rules behind plan.h, with the measurements they come from.
#include "plan.h"

namespace rnnkernels::cpu {
namespace {

// Below this many multiply-adds a step is shorter than what a second thread costs (about 1 us).
constexpr Index kStepWork = 48 * 1024;
// So many times that of low precision at most. A step of 256 units in int8 gains a seventh by a second thread, and
// loses more where that one sleeps.
constexpr Index kMostStepRate = 6;
// Rows below which a tile of floats no longer fills the registers.
constexpr Index kTileRows = 6;
// Multiply-adds of a step, some 10 us of them on two threads, below which to meet after each costs more than what the
// instructions of low precision lose by too few rows (two cores with AMX: H 256 against H 512 of an LSTM, 16 rows).
constexpr Index kMeetingWork = 3 * 512 * 1024;
// A thread's share of the recurrent weights should live in its L2 cache.
constexpr Index kWeightShare = 3 * 512 * 1024;
// Multiply-adds of the products over many steps, above which a thread is woken for them alone: it may sleep, and
// take 100 us to come (on an idle virtual machine; with a third of this work it cost as often as it gained).
constexpr Index kSharedWork = 12 * 1024 * 1024;
// Multiply-adds of a piece, some 20 us of them: what a thread that loses its processor keeps others waiting with. So
// many rows at least are counted: fewer take as long, since the weights are read for them. In low precision these 20 us
// hold more of them (PlanInput::rate), and must: each piece converts its rows anew.
constexpr Index kPieceWork = 4 * 1024 * 1024;
constexpr Index kPieceRows = 8;
// A rate of few rows at most: they take as long as their weights take to be read.
constexpr Index kFewRowsRate = 3;
constexpr Index kMostPieces = 8;
// Rows of x projected at once: enough for whole tiles, few enough to stay in cache.
constexpr Index kForwardRows = 256;
// Gradient rows kept for one sum: many for the product, bounded in bytes.
constexpr Index kBackwardRows = 4096;
constexpr Index kBackwardBytes = 32 * 1024 * 1024;

// A wavefront's steps at a time, and the multiply-adds of a layer below which waking a thread is not worth it.
constexpr Index kWavefrontChunk = 8;
constexpr Index kWavefrontWork = 512 * 1024;

// Multiply-adds of one row's products of a step.
Index products_of(const PlanInput& in) {
    const Index dense = in.matrices * in.shape.hidden * in.shape.hidden;
    return in.heads > 1 ? dense / in.heads : dense;
}

constexpr Index at_most(Index value, Index most) { return value < most ? value : most; }
constexpr Index clamp_index(Index value, Index low, Index high) {
    return value < low ? low : value > high ? high : value;
}

}  // namespace

Plan make_plan(const PlanInput& in) {
    const Shape& s = in.shape;
    Plan plan{1, 1, 1, 1, 1, 1};

    const Index batch = s.batch > 0 ? s.batch : 1;
    const Index steps = s.steps > 0 ? s.steps : 1;
    const Index weights = products_of(in);
    if (in.threads > 1 && (weights / at_most(in.rate, kMostStepRate) + in.beside) * in.rows > kStepWork) {
        const Index most_unit_groups = (s.hidden + in.item_units - 1) / in.item_units;
        const bool few = in.low_rows < kTileRows || weights * in.rows < kMeetingWork * in.rate;
        const Index least_rows = few ? kTileRows : in.low_rows;
        const Index most_row_groups = in.one_group || in.rows < least_rows ? 1 : in.rows / least_rows;
        // As few unit groups as leave each thread weights that fit its cache; in a single step all of them, since
        // most of the time goes into packing weights then, and each thread packs its own units'.
        const Index share = (weights * in.weight_bytes + kWeightShare - 1) / kWeightShare;
        const Index wanted = steps == 1 ? in.threads : share;
        Index unit_groups = clamp_index(wanted, 1, most_unit_groups < in.threads ? most_unit_groups : in.threads);
        Index row_groups = clamp_index(in.threads / unit_groups, 1, most_row_groups);
        // Too few rows for all threads: give the rest units.
        unit_groups = clamp_index(in.threads / row_groups, 1, most_unit_groups);
        plan.row_groups = static_cast<int>(row_groups);
        plan.unit_groups = static_cast<int>(unit_groups);
    }
    const int grid = plan.row_groups * plan.unit_groups;
    if (grid > 1) {
        const bool few = in.rows <= kPieceRows * grid;
        const Index of_row = weights / (few ? at_most(in.rate, kFewRowsRate) : in.rate) + in.beside;
        const Index work = of_row * (few ? kPieceRows : in.rows / grid),
                    units = s.hidden / in.item_units / plan.unit_groups;
        plan.pieces = static_cast<int>(clamp_index(work / kPieceWork, 1, clamp_index(units, 1, kMostPieces)));
    }
    plan.threads = 2 * grid <= in.threads && in.shared * batch * steps >= kSharedWork ? in.threads : grid;

    plan.forward_chunk = clamp_index(kForwardRows / batch, batch == 1 ? 1 : 4, steps);
    if (plan.forward_chunk > steps) plan.forward_chunk = steps;
    const Index row_bytes = in.slots * s.hidden * in.element_bytes;
    const Index rows = clamp_index(kBackwardBytes / (row_bytes > 0 ? row_bytes : 1), 1, kBackwardRows);
    plan.backward_chunk = clamp_index(rows / batch, 1, steps);
    return plan;
}

// It pays where a layer alone would run on one thread (measured on two: 1.2 to 1.7 times), and not where it can be
// divided: 3 layers on 2 threads leave one of them waiting, and the meetings that are saved weigh less.
Index plan_wavefront(const PlanInput& in, int layers) {
    const Plan alone = make_plan(in);
    const Index work = products_of(in) * in.shape.batch * in.shape.steps;
    const bool pays = in.threads > 1 && layers > 1 && alone.row_groups * alone.unit_groups == 1 &&
                      work >= kWavefrontWork && in.shape.steps >= 2 * kWavefrontChunk;
    return pays ? kWavefrontChunk : 0;
}

Range split_range(Index count, Index unit, int parts, int index) {
    if (parts == 1) return {0, count};
    const Index units = (count + unit - 1) / unit;
    const Index first = units * index / parts * unit;
    const Index last = units * (index + 1) / parts * unit;
    return {first < count ? first : count, last < count ? last : count};
}

}  // namespace rnnkernels::cpu
