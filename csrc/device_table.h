// What a GPU backend offers beside backend_table.h: devices, memory for arrays of the host's, its errors. No CUDA
// types. Implemented by cuda/{device,cublas,plan,backend}.cpp and drop.cu; called by the binding of _cuda and nobody
// else.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

#include "recurrence/problem.h"

namespace rnnkernels::cuda {

// Something that CUDA or cuBLAS refused: the call, where it stands, the library's sentence. The process can go on.
class Error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

// Too little memory on the device.
class OutOfMemory : public Error {
public:
    using Error::Error;
};

// No GPU, no driver, or no cuBLAS: the backend cannot serve here.
class Unavailable : public Error {
public:
    using Error::Error;
};

struct DeviceInfo {
    char name[256];
    int capability;  // major * 10 + minor
    int processors;
    std::size_t memory;
};
int device_count();
DeviceInfo device_info(int device);

// CUDA's, as 13000 for 13.0; a driver of 0: there is none.
struct Versions {
    int runtime;
    int driver;
};
Versions versions();

// Memory of a device, in the order of its default stream.
void* take_memory(int device, Index bytes);
void give_memory(void* memory);
// Both wait: the host's memory may change, or be read, right after.
void copy_in(const void* host, void* device, Index bytes);
void copy_out(const void* device, void* host, Index bytes);
// The device of a stream.
int device_of(void* stream);
// Puts bytes of this value into a stream.
void fill(void* stream, void* memory, int value, Index bytes);
// Puts a copy into a stream of a device: within it, or between it and the host.
void copy(int device, void* stream, const void* from, void* to, Index bytes);
// Until all that was put into a stream of a device is done.
void wait(int device, void* stream);

// Whether somebody records this stream of a device: what is put into it belongs to a graph of theirs.
bool is_recorded_stream(int device, void* stream);

// Forwards, one after the other, that were recorded (cuda/graph.h), to run as often as their arrays have new numbers:
// one launch. Everything in the calls must live as long, their scratch memory too; calls like them have been run
// before. All are of one device. Run by one thread at a time.
struct GatheredCall;
struct Recorded;
Recorded* record_forwards(const GatheredCall* calls, int count);
void run_recorded(const Recorded* recorded, int device, void* stream);
void discard_recorded(Recorded* recorded);  // which may be null

// Backend::drop where the call says, of halves too: put into its stream, waits for nothing.
void drop(const Where& where, Dtype dtype, const ElementDropout& call);

// Where to look for cuBLAS, besides: folders of packages, which Python knows.
void set_cublas_folders(const char* const* folders, int count);

// The library's file and version; throws Unavailable, with the name of the extra that brings it, where there is none.
struct CublasInfo {
    const char* file;
    int version;
};
CublasInfo cublas_info();

// The CUDA C++ that a cell which is a program becomes (cuda/program_source.h), a backend's number: what stands before
// it, and the cell's own text, whose functions' names begin with `prefix`. Throws std::invalid_argument of a built-in
// cell.
struct ProgramSource {
    const char* prelude;
    std::string text;
};
ProgramSource program_source(int cell, Dtype dtype, const std::string& prefix);

// The machine code of its forward or its backward for a GPU of this capability, by NVRTC, which is found as cuBLAS is.
std::string compile_program(int cell, Dtype dtype, bool backward, int capability);

// The same of a resident kernel (cuda/resident/) of any cell that has them, for a layer on a card with so many
// processors. Throws std::invalid_argument of what it does not serve.
struct ResidentLayer {
    int cell;
    Dtype dtype;
    Index hidden, batch;
    int processors;
    bool tf32;  // float32 may be rounded to TF32
    bool pair;  // both directions in one kernel (resident/pair.h), each on half of the clusters
    bool backward = false;
    int masks = 0;  // that the kernel makes (resident/unit_masks.h)
};
ProgramSource resident_source(const ResidentLayer& layer);
std::string compile_resident(const ResidentLayer& layer, int capability);
// Of a grid kernel (cuda/grid/).
ProgramSource grid_source(const ResidentLayer& layer, int capability);

// As of cuBLAS. It needs no GPU.
void set_nvrtc_folders(const char* const* folders, int count);
struct NvrtcInfo {
    const char* file;
    int major, minor;
};
NvrtcInfo nvrtc_info();

// The set of backend_table.h that stands for whichever kernel is best for a call.
inline constexpr int kAutomatic = -1;
// What was quickest on a card: a row of cuda/measured.h.
struct MeasuredKernel {
    int capability;
    Dtype dtype;
    Index batch, hidden;
    int set;
};
// Which kernel (a set) that is, for a problem on a card, by the rows of a table (null: the build's own): cuda/plan.h.
const char* kernel_for(const Shape& shape, Dtype dtype, int capability, int processors, const MeasuredKernel* rows,
                       Index count);

// A call that waits to be put with others, or recorded: a forward or a backward.
struct GatheredCall {
    int set, cell;
    Dtype dtype;
    bool is_backward;
    ForwardCall forward;
    BackwardCall backward;
};
// Puts calls into the stream of the first, side by side where they can be (cuda/together.h): all forwards or all
// backwards, of one device, each reading at most the output (dx) of one before it, in its own workspace. `piece`: steps
// after which a call that reads another's results goes on.
void put_together(const GatheredCall* calls, int count, Index piece);

// Whether calls that come again are run as graphs (cuda/graph_cache.h), and what came of it since that was set.
void set_graphs(bool on);
struct GraphCounts {
    Index made;  // graphs
    Index runs;  // of graphs
};
GraphCounts graph_counts();

}  // namespace rnnkernels::cuda
