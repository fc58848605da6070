// The words in which every kernel is written, in OpenCL C and in CUDA C: one text, two compilers.
//
// Each `+ - * /` below is one IEEE 754 operation, rounded to nearest; only FMA fuses. OpenCL is told
// so here and by -cl-fp32-correctly-rounded-divide-sqrt, CUDA by --fmad=false and its kin.
// Before a loop: how often the compiler repeats its text.
#define ONE_BY_ONE _Pragma("unroll 1")
#define EIGHT_AT_ONCE _Pragma("unroll 8")
// Of sums that one item adds up: all that it reads is on its way before it adds.
#define MANY_AT_ONCE _Pragma("unroll 16")
// Items of a group that shares memory; a driver of a CPU is told another number.
#ifndef ITEMS
#define ITEMS 256
#endif
#ifdef __OPENCL_VERSION__
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#pragma OPENCL FP_CONTRACT OFF
typedef uint U32;
typedef ulong U64;
typedef long I64;
#define KERNEL __kernel void
#define OF_ITEMS(n) __attribute__((reqd_work_group_size(n, 1, 1)))
#define INLINE static inline
#define GLOBAL __global
#define LOCAL __local
#define OF_GROUP __local
#define ALIGNED __attribute__((aligned(32)))
#define GROUP(d) ((int)get_group_id(d))
#define ITEM(d) ((int)get_local_id(d))
#define ELEMENT ((int)get_global_id(0))
#define SYNC barrier(CLK_LOCAL_MEM_FENCE)
#define FMA(a, b, c) fma(a, b, c)
#define SQRT(x) sqrt(x)
#define BITS_OF_F64(x) as_ulong(x)
#define F64_OF_BITS(x) as_double(x)
typedef float8 F8;
#define ALL8(x) ((float8)(x))
#define LOAD8(from) vload8(0, from)
#define STORE8(x, to) vstore8(x, 0, to)
#define FMA8(x, y, z) fma((float8)(x), y, z)
#define ADD8(x, y) ((x) + (y))
#define RELU8(x) select(x, (float8)(0.0f), (x) <= 0.0f)
#define LOAD4(from, to) vstore4(vload4(0, from), 0, to)
#else
typedef unsigned int U32;
typedef unsigned long long U64;
typedef long long I64;
#define KERNEL extern "C" __global__ void
#define OF_ITEMS(n) __launch_bounds__(n, 2)
#define INLINE static __device__ __forceinline__
#define GLOBAL
#define LOCAL __shared__
#define OF_GROUP
#define ALIGNED __align__(32)
#define GROUP(d) ((int)((d) == 0 ? blockIdx.x : blockIdx.y))
#define ITEM(d) ((int)((d) == 0 ? threadIdx.x : threadIdx.y))
#define ELEMENT ((int)(blockIdx.x * blockDim.x + threadIdx.x))
#define SYNC __syncthreads()
#define FMA(a, b, c) __fmaf_rn(a, b, c)
#define SQRT(x) __fsqrt_rn(x)
#define BITS_OF_F64(x) ((U64)__double_as_longlong(x))
#define F64_OF_BITS(x) __longlong_as_double((long long)(x))
// Eight numbers, one operation each.
typedef struct {
    float lane[8];
} F8;
static __device__ __forceinline__ F8 ALL8(float x)
{
    F8 all;
    for (int i = 0; i < 8; i++)
        all.lane[i] = x;
    return all;
}
static __device__ __forceinline__ void LOAD4(const float *from, float *to)
{
    float4 four = *(const float4 *)from;
    to[0] = four.x;
    to[1] = four.y;
    to[2] = four.z;
    to[3] = four.w;
}
static __device__ __forceinline__ F8 LOAD8(const float *from)
{
    F8 all;
    LOAD4(from, all.lane);
    LOAD4(from + 4, all.lane + 4);
    return all;
}
static __device__ __forceinline__ void STORE8(F8 x, float *to)
{
    ((float4 *)to)[0] = make_float4(x.lane[0], x.lane[1], x.lane[2], x.lane[3]);
    ((float4 *)to)[1] = make_float4(x.lane[4], x.lane[5], x.lane[6], x.lane[7]);
}
static __device__ __forceinline__ F8 FMA8(float x, F8 y, F8 z)
{
    for (int i = 0; i < 8; i++)
        z.lane[i] = FMA(x, y.lane[i], z.lane[i]);
    return z;
}
static __device__ __forceinline__ F8 ADD8(F8 x, F8 y)
{
    for (int i = 0; i < 8; i++)
        x.lane[i] = x.lane[i] + y.lane[i];
    return x;
}
static __device__ __forceinline__ F8 RELU8(F8 x)
{
    for (int i = 0; i < 8; i++)
        x.lane[i] = x.lane[i] <= 0.0f ? 0.0f : x.lane[i];
    return x;
}
#endif

// Neighbouring channels of an item: one on a GPU, whose items are themselves the lanes of a vector, and
// eight on a CPU. Operators are those of each lane.
#if ITEMS == 1
#define LANES 8
typedef F8 Lanes;
#define ALL(x) ALL8(x)
#define LOAD(from) LOAD8(from)
#define STORE(x, to) STORE8(x, to)
#else
#define LANES 1
typedef float Lanes;
#define ALL(x) (x)
#define LOAD(from) (*(from))
#define STORE(x, to) (*(to) = (x))
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
