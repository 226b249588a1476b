// Our words for DLPack (csrc/binding/dlpack_abi.h) against the header that an installed PyTorch ships: it compiles if
// they agree. tests/torch/test_torch_steps.py compiles it.
#include <cstddef>
#include <utility>

#include "ATen/dlpack.h"
#include "binding/dlpack_abi.h"

namespace d = rnnkernels::dlpack;

// Where a member stands and how large it is.
#define SAME(ours, member, theirs, field)                                                             \
    static_assert(offsetof(d::ours, member) == offsetof(theirs, field) &&                             \
                      sizeof(std::declval<d::ours>().member) == sizeof(std::declval<theirs>().field), \
                  #ours "::" #member " is not " #theirs "::" #field)
#define WHOLE(ours, theirs) static_assert(sizeof(d::ours) == sizeof(theirs), #ours " is not " #theirs)

static_assert(d::kMajor == DLPACK_MAJOR_VERSION);
static_assert(d::kHost == kDLCPU && d::kFloat == kDLFloat);

SAME(Version, major, DLPackVersion, major);
SAME(Version, minor, DLPackVersion, minor);
WHOLE(Version, DLPackVersion);

SAME(Device, type, DLDevice, device_type);
SAME(Device, number, DLDevice, device_id);
WHOLE(Device, DLDevice);

SAME(Type, code, DLDataType, code);
SAME(Type, bits, DLDataType, bits);
SAME(Type, lanes, DLDataType, lanes);
WHOLE(Type, DLDataType);

SAME(Tensor, data, DLTensor, data);
SAME(Tensor, device, DLTensor, device);
SAME(Tensor, dimensions, DLTensor, ndim);
SAME(Tensor, type, DLTensor, dtype);
SAME(Tensor, shape, DLTensor, shape);
SAME(Tensor, strides, DLTensor, strides);
SAME(Tensor, byte_offset, DLTensor, byte_offset);
WHOLE(Tensor, DLTensor);

SAME(ManagedTensor, version, DLManagedTensorVersioned, version);
SAME(ManagedTensor, manager, DLManagedTensorVersioned, manager_ctx);
SAME(ManagedTensor, deleter, DLManagedTensorVersioned, deleter);
SAME(ManagedTensor, flags, DLManagedTensorVersioned, flags);
SAME(ManagedTensor, tensor, DLManagedTensorVersioned, dl_tensor);
WHOLE(ManagedTensor, DLManagedTensorVersioned);

static_assert(offsetof(d::Exchange, version) == offsetof(DLPackExchangeAPI, header.version));
static_assert(offsetof(d::Exchange, older) == offsetof(DLPackExchangeAPI, header.prev_api));
SAME(Exchange, allocate, DLPackExchangeAPI, managed_tensor_allocator);
SAME(Exchange, own, DLPackExchangeAPI, managed_tensor_from_py_object_no_sync);
SAME(Exchange, as_object, DLPackExchangeAPI, managed_tensor_to_py_object_no_sync);
SAME(Exchange, look, DLPackExchangeAPI, dltensor_from_py_object_no_sync);
SAME(Exchange, stream, DLPackExchangeAPI, current_work_stream);
WHOLE(Exchange, DLPackExchangeAPI);
