// A call's masks (unit_masks.h) in a resident backward: what cuda/options.h does around a cell, in a lane's registers.
// They are made again before a warp waits. A kernel has the code of what its call asks for alone.
//
//   states that keep old values   dL/d(the states after a step), all that comes to them, is divided before the maths
//                                 into what the maths gets and what goes past it, to the states before
//   recurrent dropout             what comes through a product is multiplied by what its operand was multiplied by. Of
//                                 h it is then added to what is carried, of a launch's first step too: no product is
//                                 left for the next launch
#pragma once

#include "backward_maths.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// `masks`: the kernel's (geometry.h: Resident).
template <class Maths, class Machine>
class BackwardMasks {
    using V = Vec<float>;
    static constexpr int kGroups = Machine::kGroups, kLaneUnits = Machine::kLaneUnits;

public:
    // A unit's bits of a step, `row` being among those of all steps. `is`: the row has the step. `later`: the bits of
    // the step behind were made before.
    RNNKERNELS_INLINE void make(const ResidentBackwardCall& call, int masks, int g, int s, int lane, bool is,
                                bool later, Index row, Index unit) {
        unsigned marks = later && (marks_[g][s][lane] & kDropped) ? kDroppedNext : 0;
        if ((masks & kZones) && is) marks |= call.masks.kept(Maths::state_count(call), row, unit);
        if ((masks & kDrops) && is && call.masks.drops(row, unit)) marks |= kDropped;
        marks_[g][s][lane] = marks;
    }

    // dL/d(the states after a step) as its maths takes them, of what is carried and the product of the step behind.
    // Whether the maths has to add that product itself.
    RNNKERNELS_INLINE bool begin(const ResidentBackwardCall& call, int masks, int g, int s, int lane, V product,
                                 bool follows, V* kept, V* carried) {
        if (!masks) return follows;
        if (follows) carried[0] = with_product(call, masks, g, s, lane, product, carried[0]);
        if (!(masks & kZones)) return false;
        const int states = Maths::state_count(call);
        if (call.a.d_output) carried[0] = kept[2 * states] + carried[0];
        kept[2 * states] = V(-0.0F);  // the maths adds it: any number stays what it is
        RNNKERNELS_IN_REGISTERS
        for (int k = 0; k < states; ++k) {
            V past;
            call.masks.unzone(k, marks_[g][s][lane], carried[k], past);
            past_[g][s][k][lane] = past.raw;
        }
        return false;
    }
    // dL/d(the states before it), with what went past the cell.
    RNNKERNELS_INLINE void add_past(const ResidentBackwardCall& call, int masks, int g, int s, int lane,
                                    V* carried) const {
        if (!(masks & kZones)) return;
        RNNKERNELS_IN_REGISTERS
        for (int k = 0; k < Maths::state_count(call); ++k) carried[k] = carried[k] + V(past_[g][s][k][lane]);
    }

    // What is carried of h, with the product of the step behind the one that the bits are of.
    RNNKERNELS_INLINE V with_product(const ResidentBackwardCall& call, int masks, int g, int s, int lane, V product,
                                     V carried) const {
        if (!(masks & kDrops)) return product + carried;
        return fma(product, V(call.masks.factor(marks_[g][s][lane] & kDroppedNext)), carried);
    }
    // Of what the step multiplies.
    RNNKERNELS_INLINE float factor(const ResidentBackwardCall& call, int masks, int g, int s, int lane) const {
        return masks & kDrops ? call.masks.factor(marks_[g][s][lane] & kDropped) : 1.0F;
    }

private:
    typename Machine::template Own<unsigned> marks_[kGroups][kLaneUnits];
    typename Machine::template Own<float> past_[kGroups][kLaneUnits][Maths::states];
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
