// Makes a device current, and the one before it again. No CUDA types: what includes this can be compiled, and tested,
// without.
#pragma once

namespace rnnkernels::cuda {

class OnDevice {
public:
    explicit OnDevice(int device);
    ~OnDevice();
    OnDevice(const OnDevice&) = delete;
    OnDevice& operator=(const OnDevice&) = delete;

private:
    int before_ = 0;
    bool changed_ = false;
};

}  // namespace rnnkernels::cuda
