// How a call is cut: threads, rows and units for each, steps per chunk. A pure function of the problem, the
// number of threads and the sizes of the set's vectors; it is tested without running a kernel.
//
// Threads stand in a grid of row groups x unit groups. Row groups share nothing and never wait for each
// other inside a step; the unit groups of one row group need each other's h and meet after every step. What a thread of
// the grid has of a step is cut into pieces, so that others can take a part of it over (claims.h).
// Where steps are too small to divide, threads beyond the grid may still share the products over many steps: the
// projection of x and the sums into gradients.
#pragma once

#include "../recurrence/problem.h"

namespace rnnkernels::cpu {

// Rows of x projected at once with int8 weights. These are read in a quarter of the time, so for fewer rows; of 256
// what the products leave and what they read would crowd each other out of the L2 cache (H 512 and 1024: a call takes 6
// % less).
inline constexpr Index kInt8Rows = 64;

struct Plan {
    int threads;  // in all; those of the grid come first
    int row_groups;
    int unit_groups;
    int pieces;            // of a step, for each thread of the grid
    Index forward_chunk;   // steps projected at once
    Index backward_chunk;  // steps whose weight gradients are summed at once
};

struct PlanInput {
    Shape shape;
    Index rows;  // of a step: the batch, or the mean, rounded up
    int threads;
    Index matrices;    // (H, H), that a step multiplies
    Index slots;       // gradient slots
    Index shared;      // multiply-adds of one row in the products over many steps
    Index item_units;  // the least number of units a thread can take
    Index element_bytes;
    Index weight_bytes;      // of an element of the recurrent weight, as products read it
    Index low_rows;          // fewer do not keep an instruction of low precision busy; 0: products are of floats
    Index rate;              // multiply-adds in the time of one of float32, about
    Index beside = 0;        // multiply-adds of one row and step that no unit of h owns: attention
    bool one_group = false;  // rows must not be divided into groups
    Index heads = 1;         // of these matrices (recurrence/heads.h)
};

Plan make_plan(const PlanInput& in);

// Steps at a time in which `layers` layers run as a wavefront, each on one thread and behind the one below it;
// 0: one layer after the other, each on all threads.
Index plan_wavefront(const PlanInput& in, int layers);

// Part `index` of `parts` of the range [0, count) in whole multiples of `unit`, as even as can be.
struct Range {
    Index first;
    Index last;
};
Range split_range(Index count, Index unit, int parts, int index);

}  // namespace rnnkernels::cpu
