// The words in which every kernel is written, in OpenCL C and in CUDA C: one text, two compilers.
//
// Each `+ - * /` below is one IEEE 754 operation, rounded to nearest; only FMA fuses. OpenCL is told
// so here and by -cl-fp32-correctly-rounded-divide-sqrt, CUDA by --fmad=false and its kin.
#ifdef __OPENCL_VERSION__
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#pragma OPENCL FP_CONTRACT OFF
typedef uint U32;
typedef ulong U64;
typedef long I64;
#define KERNEL __kernel void
#define INLINE static inline
#define GLOBAL __global
#define LOCAL __local
#define GROUP(d) ((int)get_group_id(d))
#define ITEM(d) ((int)get_local_id(d))
#define ELEMENT ((int)get_global_id(0))
#define SYNC barrier(CLK_LOCAL_MEM_FENCE)
#define FMA(a, b, c) fma(a, b, c)
#define SQRT(x) sqrt(x)
#define BITS_OF_F64(x) as_ulong(x)
#define F64_OF_BITS(x) as_double(x)
#else
typedef unsigned int U32;
typedef unsigned long long U64;
typedef long long I64;
#define KERNEL extern "C" __global__ void
#define INLINE static __device__ __forceinline__
#define GLOBAL
#define LOCAL __shared__
#define GROUP(d) ((int)((d) == 0 ? blockIdx.x : blockIdx.y))
#define ITEM(d) ((int)((d) == 0 ? threadIdx.x : threadIdx.y))
#define ELEMENT ((int)(blockIdx.x * blockDim.x + threadIdx.x))
#define SYNC __syncthreads()
#define FMA(a, b, c) __fmaf_rn(a, b, c)
#define SQRT(x) __fsqrt_rn(x)
#define BITS_OF_F64(x) ((U64)__double_as_longlong(x))
#define F64_OF_BITS(x) __longlong_as_double((long long)(x))
#endif

// How a value reaches its place: as `Store` of the host's chains has it.
#define SET 0
#define ZERO_PLUS 1
#define ADD 2

// Activations, as the host numbers them.
#define IDENTITY 0
#define RELU 1
#define TANH 2
#define SIGMOID 3
