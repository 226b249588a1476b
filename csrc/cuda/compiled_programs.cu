// Cells that are programs, compiled at run time by NVRTC for the GPU that a call is on: what one direction of a call
// launches, when a call first needs it. Machine code is kept by the source that it was compiled from, as long as the
// process lives. Where there is no GPU tests/native/emulated_programs.cpp stands for this file.
#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "arrays.h"
#include "grid/launch.h"
#include "loaded.h"
#include "program_launches.h"
#include "program_source.h"
#include "queue.h"
#include "resident/launch.h"

namespace rnnkernels::cuda {
namespace {

constexpr bool is_backward(ProgramPhase phase) {
    return phase == ProgramPhase::backward || phase == ProgramPhase::backward_gates ||
           phase == ProgramPhase::feedback_backward;
}

struct Kernels {
    cudaKernel_t of_phase[kProgramPhaseCount] = {};
};

// A program's kernels on each device, for ever.
class Compiled {
public:
    explicit Compiled(const OwnProgram& program) : program_(program) {}

    const OwnProgram& program() const { return program_; }
    const Kernels& kernels(bool wide, bool backward) const {
        const int device = current_device();
        const std::lock_guard<std::mutex> lock(guard_);
        std::unique_ptr<Kernels>& found = found_[{device, wide, backward}];
        if (!found) {
            auto made = std::make_unique<Kernels>();
            const Phases phases = backward ? Phases::backward : Phases::forward;
            const std::string source = program_source(program_, wide ? Dtype::float64 : Dtype::float32, "", phases);
            const cudaLibrary_t library = loaded(kProgramPrelude, source, capability_of(device));
            for (int phase = 0; phase < kProgramPhaseCount; ++phase)
                if (is_backward(static_cast<ProgramPhase>(phase)) == backward &&
                    !program_.phases[phase].instructions.empty())
                    RNNKERNELS_CHECK(cudaLibraryGetKernel(&made->of_phase[phase], library,
                                                          name_of(static_cast<ProgramPhase>(phase))));
            found = std::move(made);
        }
        return *found;
    }

private:
    const OwnProgram& program_;
    mutable std::mutex guard_;
    mutable std::map<std::tuple<int, bool, bool>, std::unique_ptr<Kernels>> found_;
};

const Compiled& compiled(const OwnProgram& program) {
    static std::mutex guard;
    static auto* all = new std::map<const OwnProgram*, std::unique_ptr<Compiled>>;
    const std::lock_guard<std::mutex> lock(guard);
    std::unique_ptr<Compiled>& found = (*all)[&program];
    if (!found) found = std::make_unique<Compiled>(program);
    return *found;
}

template <ProgramPhase phase, class T, class Arrays>
void launch(const Queue& queue, Index rows, const Arrays& arrays, const void* program) {
    Index units = arrays.hidden;
    if (rows <= 0 || units <= 0) return;
    const Kernels& kernels = static_cast<const Compiled*>(program)->kernels(sizeof(T) == 8, is_backward(phase));
    void* arguments[] = {&rows, &units, const_cast<Arrays*>(&arrays)};
    const Places places(rows, units);
    RNNKERNELS_CHECK(cudaLaunchKernel(reinterpret_cast<const void*>(kernels.of_phase[static_cast<int>(phase)]),
                                      places.grid, places.block, arguments, 0,
                                      static_cast<cudaStream_t>(queue.stream)));
}

void launch_resident(const Queue& queue, const Resident& shape, const ResidentCall& call, const void* program) {
    put_resident(static_cast<const Compiled*>(program)->program(), queue, shape, call);
}
void launch_resident_backward(const Queue& queue, const ResidentBackward& shape, const ResidentBackwardCall& call,
                              const void* program) {
    put_resident_backward(static_cast<const Compiled*>(program)->program(), queue, shape, call);
}
template <class Call>
void launch_grid(const Queue& queue, const Grid& shape, const Call& call, const void* program) {
    put_grid(static_cast<const Compiled*>(program)->program(), queue, shape, call);
}

}  // namespace

template <class T>
CellLaunches<T> launches_of(const OwnProgram& program) {
    using enum ProgramPhase;
    CellLaunches<T> launches{};
    launches.forward = launch<forward, T, ForwardArrays<T>>;
    launches.backward = launch<backward, T, BackwardArrays<T>>;
    if (program.table().form == Form::two_products) {
        launches.forward_state = launch<forward_state, T, ForwardArrays<T>>;
        launches.backward_gates = launch<backward_gates, T, BackwardArrays<T>>;
    }
    if (program.table().vectors > 0) {
        launches.feedback = launch<feedback, T, ForwardArrays<T>>;
        launches.feedback_backward = launch<feedback_backward, T, BackwardArrays<T>>;
    }
    launches.resident = launch_resident;
    launches.resident_backward = launch_resident_backward;
    launches.grid = launch_grid<GridCall>;
    launches.grid_backward = launch_grid<GridBackwardCall>;
    launches.program = &compiled(program);
    return launches;
}
template CellLaunches<float> launches_of(const OwnProgram&);
template CellLaunches<double> launches_of(const OwnProgram&);

void make_ready(const OwnProgram& program, Dtype dtype, bool backward) {
    compiled(program).kernels(dtype == Dtype::float64, backward);
}

}  // namespace rnnkernels::cuda
