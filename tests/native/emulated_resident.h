// Resident kernels of built-in cells where there is no GPU (resident_machine.h).
#pragma once

#include "cuda/queue.h"
#include "cuda/resident/launch.h"
#include "cuda/resident/two_products_cell_maths.h"
#include "resident_machine.h"

namespace rnnkernels::cuda {

template <class Maths>
void put_emulated(const Queue& queue, const Resident& shape, const ResidentCall& call) {
    put(queue, [=] {
        if (shape.operands == Operands::tf32)
            run_emulated<Maths, Tf32>(shape, call, 1);
        else if (shape.operands == Operands::full)
            run_emulated<Maths, Full>(shape, call, 1);
        else if (call.a.storage == Dtype::bfloat16)
            run_emulated<Maths, Bfloat16>(shape, call, 1);
        else
            run_emulated<Maths, Float16>(shape, call, 1);
    });
}

template <class Cell>
void put_resident_cell(int, const Queue& queue, const Resident& shape, const ResidentCall& call) {
    put_emulated<ResidentMathsOf<Cell>>(queue, shape, call);
}

}  // namespace rnnkernels::cuda
