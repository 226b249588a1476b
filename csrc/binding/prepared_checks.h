// What prepared layers and steppers check alike on a CPU and on a GPU. Not here: the classes (prepared_layer.h,
// prepared, device_prepared); what a layer is given in any call (arguments.h).
#pragma once

#include <atomic>
#include <stdexcept>
#include <string>

#include "arguments.h"

namespace rnnkernels::binding {

// That x is what the layer was prepared for.
inline void check_kind(const Array& x, bool tokens) {
    if (holds_tokens(x) != tokens)
        throw py::type_error(std::string("x: expected ") + (tokens ? "tokens" : "vectors") +
                             ", what the layer was prepared for (its argument tokens), got " +
                             (tokens ? "vectors" : "tokens"));
}

// The batch size of a stepper that is made.
inline void check_batch_size(Index batch) {
    if (batch < 0) throw py::value_error("batch_size: expected 0 or more, got " + std::to_string(batch));
}

// That a step's x has as many rows as its stepper.
inline void check_step_rows(Index given, Index batch) {
    if (given != batch)
        throw py::value_error("x: expected the stepper's batch size, B = " + std::to_string(batch) +
                              ", got B = " + std::to_string(given));
}

inline constexpr const char* kOneAtATime = "stepper: expected one call at a time, got a second one";

// One user of a stepper at a time: two steps of one state at once have no meaning.
class Hold {
public:
    explicit Hold(std::atomic<bool>& busy) : busy_(busy) {
        if (busy_.exchange(true)) throw std::runtime_error(kOneAtATime);
    }
    ~Hold() { busy_ = false; }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

private:
    std::atomic<bool>& busy_;
};

}  // namespace rnnkernels::binding
