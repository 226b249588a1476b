// Our words for XLA's FFI (csrc/binding/xla_ffi_abi.h) against the header that an installed jaxlib ships: it compiles
// if they agree. tests/test_jax.py compiles it.
#include <cstddef>
#include <utility>

#include "binding/xla_ffi_abi.h"
#include "xla/ffi/api/c_api.h"

namespace x = rnnkernels::xla;

// Where a member stands and how large it is.
#define SAME(ours, member, theirs, field)                                                             \
    static_assert(offsetof(x::ours, member) == offsetof(theirs, field) &&                             \
                      sizeof(std::declval<x::ours>().member) == sizeof(std::declval<theirs>().field), \
                  #ours "::" #member " is not " #theirs "::" #field)
#define WHOLE(ours, theirs) static_assert(sizeof(x::ours) == sizeof(theirs), #ours " is not " #theirs)

static_assert(x::kApiMajor == XLA_FFI_API_MAJOR);

SAME(Extension, size, XLA_FFI_Extension_Base, struct_size);
SAME(Extension, type, XLA_FFI_Extension_Base, type);
SAME(Extension, next, XLA_FFI_Extension_Base, next);
WHOLE(Extension, XLA_FFI_Extension_Base);
static_assert(x::kMetadata == XLA_FFI_Extension_Metadata);

SAME(Version, major, XLA_FFI_Api_Version, major_version);
SAME(Version, minor, XLA_FFI_Api_Version, minor_version);
WHOLE(Version, XLA_FFI_Api_Version);

SAME(ErrorArguments, message, XLA_FFI_Error_Create_Args, message);
SAME(ErrorArguments, code, XLA_FFI_Error_Create_Args, errc);
WHOLE(ErrorArguments, XLA_FFI_Error_Create_Args);
static_assert(x::kInvalidArgument == XLA_FFI_Error_Code_INVALID_ARGUMENT);
static_assert(x::kInternal == XLA_FFI_Error_Code_INTERNAL);

SAME(ErrorMessageArguments, error, XLA_FFI_Error_GetMessage_Args, error);
SAME(ErrorMessageArguments, message, XLA_FFI_Error_GetMessage_Args, message);
WHOLE(ErrorMessageArguments, XLA_FFI_Error_GetMessage_Args);
SAME(ErrorFreeArguments, error, XLA_FFI_Error_Destroy_Args, error);
WHOLE(ErrorFreeArguments, XLA_FFI_Error_Destroy_Args);

SAME(StreamArguments, context, XLA_FFI_Stream_Get_Args, ctx);
SAME(StreamArguments, stream, XLA_FFI_Stream_Get_Args, stream);
WHOLE(StreamArguments, XLA_FFI_Stream_Get_Args);
SAME(MemoryArguments, context, XLA_FFI_DeviceMemory_Allocate_Args, ctx);
SAME(MemoryArguments, bytes, XLA_FFI_DeviceMemory_Allocate_Args, size);
SAME(MemoryArguments, alignment, XLA_FFI_DeviceMemory_Allocate_Args, alignment);
SAME(MemoryArguments, data, XLA_FFI_DeviceMemory_Allocate_Args, data);
WHOLE(MemoryArguments, XLA_FFI_DeviceMemory_Allocate_Args);
SAME(MemoryFreeArguments, context, XLA_FFI_DeviceMemory_Free_Args, ctx);
SAME(MemoryFreeArguments, bytes, XLA_FFI_DeviceMemory_Free_Args, size);
SAME(MemoryFreeArguments, data, XLA_FFI_DeviceMemory_Free_Args, data);
WHOLE(MemoryFreeArguments, XLA_FFI_DeviceMemory_Free_Args);

SAME(Api, error_message, XLA_FFI_Api, XLA_FFI_Error_GetMessage);
SAME(Api, free_error, XLA_FFI_Api, XLA_FFI_Error_Destroy);
SAME(Api, get_stream, XLA_FFI_Api, XLA_FFI_Stream_Get);
SAME(Api, take_memory, XLA_FFI_Api, XLA_FFI_DeviceMemory_Allocate);
SAME(Api, free_memory, XLA_FFI_Api, XLA_FFI_DeviceMemory_Free);
SAME(Api, version, XLA_FFI_Api, api_version);
SAME(Api, create_error, XLA_FFI_Api, XLA_FFI_Error_Create);
static_assert(sizeof(x::Api) <= sizeof(XLA_FFI_Api));

static_assert(x::kS32 == XLA_FFI_DataType_S32 && x::kS64 == XLA_FFI_DataType_S64 && x::kU8 == XLA_FFI_DataType_U8 &&
              x::kF16 == XLA_FFI_DataType_F16 && x::kF32 == XLA_FFI_DataType_F32 && x::kF64 == XLA_FFI_DataType_F64 &&
              x::kBf16 == XLA_FFI_DataType_BF16);
static_assert(x::kBuffer == XLA_FFI_ArgType_BUFFER && x::kBuffer == XLA_FFI_RetType_BUFFER);
SAME(Buffer, dtype, XLA_FFI_Buffer, dtype);
SAME(Buffer, data, XLA_FFI_Buffer, data);
SAME(Buffer, rank, XLA_FFI_Buffer, rank);
SAME(Buffer, dims, XLA_FFI_Buffer, dims);

SAME(Text, data, XLA_FFI_ByteSpan, ptr);
SAME(Text, length, XLA_FFI_ByteSpan, len);
SAME(Scalar, dtype, XLA_FFI_Scalar, dtype);
SAME(Scalar, value, XLA_FFI_Scalar, value);

SAME(Buffers, count, XLA_FFI_Args, size);
SAME(Buffers, types, XLA_FFI_Args, types);
SAME(Buffers, items, XLA_FFI_Args, args);
WHOLE(Buffers, XLA_FFI_Args);
SAME(Buffers, count, XLA_FFI_Rets, size);
SAME(Buffers, types, XLA_FFI_Rets, types);
SAME(Buffers, items, XLA_FFI_Rets, rets);
WHOLE(Buffers, XLA_FFI_Rets);

static_assert(x::kScalar == XLA_FFI_AttrType_SCALAR && x::kText == XLA_FFI_AttrType_STRING);
SAME(Attributes, count, XLA_FFI_Attrs, size);
SAME(Attributes, types, XLA_FFI_Attrs, types);
SAME(Attributes, names, XLA_FFI_Attrs, names);
SAME(Attributes, items, XLA_FFI_Attrs, attrs);
WHOLE(Attributes, XLA_FFI_Attrs);

static_assert(x::kExecute == XLA_FFI_ExecutionStage_EXECUTE);
SAME(Frame, extension, XLA_FFI_CallFrame, extension_start);
SAME(Frame, api, XLA_FFI_CallFrame, api);
SAME(Frame, context, XLA_FFI_CallFrame, ctx);
SAME(Frame, stage, XLA_FFI_CallFrame, stage);
SAME(Frame, arguments, XLA_FFI_CallFrame, args);
SAME(Frame, results, XLA_FFI_CallFrame, rets);
SAME(Frame, attributes, XLA_FFI_CallFrame, attrs);
static_assert(sizeof(x::Frame) <= sizeof(XLA_FFI_CallFrame));

SAME(Metadata, version, XLA_FFI_Metadata, api_version);
SAME(Metadata, traits, XLA_FFI_Metadata, traits);
static_assert(sizeof(x::Metadata) <= sizeof(XLA_FFI_Metadata));
SAME(MetadataExtension, metadata, XLA_FFI_Metadata_Extension, metadata);
