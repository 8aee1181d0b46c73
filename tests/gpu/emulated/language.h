/* SPDX-License-Identifier: Apache-2.0
 *
 * The words of the shared kernels on the CPU: those of backends/cuda/kernels/language.h, where they are explained.
 * Kernels written in them are built with -fno-strict-aliasing -Wno-unknown-pragmas.
 */
#ifndef SKV_LANGUAGE_H
#define SKV_LANGUAGE_H

#include <math.h>
#include <sys/types.h> /* ushort, uint, ulong */
#include <type_traits>
#include <utility>

#include "tests/gpu/emulator.h"
#include "tests/gpu/group_memory.h"
#include "tests/gpu/values.h"

typedef unsigned char uchar;
typedef long slong;

#define GLOBAL
#define LOCAL
#define SHARED SKV_EMULATED_SHARED
#define DEVICE [[maybe_unused]] static inline
#define KERNEL(name, lanes) KERNEL_(name, lanes, false)
#define KERNEL_(name, lanes, fewer)                          \
    enum { name##_lanes = (lanes), name##_fewer = (fewer) }; \
    extern "C" __attribute__((visibility("hidden"))) void name
#define SCRATCH
#define SCRATCH_OF(words) uint *words = (uint *)emulator::scratch.bytes

/* Makes a kernel known by its name; once for each, behind its definition. */
#define SKV_EMULATED_KERNEL(name) SKV_EMULATED_KERNEL_(name)
#define SKV_EMULATED_KERNEL_(name)                                                                                   \
    static emulator::kernel name##_kernel = {                                                                        \
        #name,        emulator::arguments<decltype(&name)>::run<&name>, name##_lanes,                                \
        name##_fewer, emulator::arguments<decltype(&name)>::n,          emulator::arguments<decltype(&name)>::bytes, \
        nullptr};                                                                                                    \
    static emulator::registration name##_registration(&name##_kernel)

namespace emulator
{

template <class F> struct arguments;
template <class... A> struct arguments<void (*)(A...)> {
    static constexpr unsigned n = sizeof...(A);
    static constexpr size_t bytes[sizeof...(A) + 1] = {sizeof(A)..., 0};
    template <void (*f)(A...)> static void run(void **params) { call<f>(params, std::index_sequence_for<A...>()); }
    template <void (*f)(A...), size_t... i> static void call(void **params, std::index_sequence<i...>)
    {
        f(*(std::remove_const_t<A> *)params[i]...);
    }
};

} // namespace emulator

struct alignas(8) uint2 {
    uint x, y;
};
struct alignas(16) uint4 {
    uint x, y, z, w;
};
struct alignas(8) int2 {
    int x, y;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) ulong2 {
    ulong x, y;
};

DEVICE uint2 make_uint2(uint x, uint y)
{
    return uint2{x, y};
}
DEVICE uint4 make_uint4(uint x, uint y, uint z, uint w)
{
    return uint4{x, y, z, w};
}
DEVICE float2 make_float2(float x, float y)
{
    return float2{x, y};
}
DEVICE float4 make_float4(float x, float y, float z, float w)
{
    return float4{x, y, z, w};
}

/* As in CUDA, where a NaN loses against a number. */
template <class A, class B> DEVICE std::common_type_t<A, B> min(A a, B b)
{
    using type = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<type>)
        return fmin((type)a, (type)b);
    else
        return (type)b < (type)a ? (type)b : (type)a;
}
template <class A, class B> DEVICE std::common_type_t<A, B> max(A a, B b)
{
    using type = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<type>)
        return fmax((type)a, (type)b);
    else
        return (type)a < (type)b ? (type)b : (type)a;
}

DEVICE uint local_id()
{
    return emulator::lane_id_x();
}
DEVICE uint local_size()
{
    return emulator::now.lanes.x;
}
DEVICE uint group_x()
{
    return emulator::now.id.x;
}
DEVICE uint group_y()
{
    return emulator::now.id.y;
}
DEVICE uint group_z()
{
    return emulator::now.id.z;
}
DEVICE uint groups_x()
{
    return emulator::now.count.x;
}
DEVICE void group_barrier(emulator::place at = emulator::place::here())
{
    emulator::meet_group(at);
}
DEVICE void group_barrier_global(emulator::place at = emulator::place::here())
{
    emulator::meet_group(at);
}

DEVICE uint popcount(uint x)
{
    return (uint)__builtin_popcount(x);
}
DEVICE uint leading_zeros(uint x)
{
    return x ? (uint)__builtin_clz(x) : 32;
}
DEVICE float as_float(uint x)
{
    return emulator::float_of(x);
}
DEVICE uint as_uint(float x)
{
    return emulator::bits_of(x);
}
DEVICE float half_value(uint bits)
{
    return emulator::half_to_float(bits & 0xffff);
}
DEVICE uint half_bits(float x)
{
    return emulator::float_to_half(x);
}
DEVICE float global_half(const ushort *at)
{
    return half_value(*at);
}
DEVICE float local_half(const ushort *at)
{
    return half_value(*at);
}
DEVICE void store_half(ushort *at, float x)
{
    *at = (ushort)half_bits(x);
}
DEVICE float4 make_four(float x, float y, float z, float w)
{
    return float4{x, y, z, w};
}
DEVICE float dot4(float4 a, float4 b)
{
    return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, a.x * b.x)));
}

DEVICE void atomic_min_global(volatile uint *at, uint x)
{
    if (x < *at)
        *at = x;
}
DEVICE void atomic_or_local(volatile uint *at, uint x)
{
    *at = *at | x;
}

#endif
