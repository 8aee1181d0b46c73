/* SPDX-License-Identifier: Apache-2.0
 *
 * One kernel for each word of language.h that the shared kernels leave room for doubt about.
 */
#include "backends/hip/kernels/language.h"

#define LANES 128
#define FLOATS(name, call)                                                              \
    KERNEL(name, LANES)(const float *in, float *out, uint n)                            \
    {                                                                                   \
        for (uint i = group_x() * LANES + local_id(); i < n; i += groups_x() * LANES) { \
            float x = in[i];                                                            \
            out[i] = call;                                                              \
        }                                                                               \
    }

FLOATS(test_exp, exp(x))
FLOATS(test_log, log(x))
FLOATS(test_tanh, tanh(x))
FLOATS(test_sqrt, sqrt(x))
FLOATS(test_fabs, fabs(x))
FLOATS(test_fmax, fmax(x, 1.0f))
FLOATS(test_isnan, isnan(x) ? 1.0f : 0.0f)
FLOATS(test_divide, 1.5f / x)
FLOATS(test_fma, fma(x, 1.0000001f, -x))
FLOATS(test_unfused, x * 1.0000001f - x)

KERNEL(test_half_value, LANES)(float *out)
{
    for (uint i = local_id(); i < 65536; i += LANES)
        out[i] = half_value(i);
}

KERNEL(test_half_bits, LANES)(const float *in, ushort *out, uint n)
{
    for (uint i = local_id(); i < n; i += LANES)
        store_half(out + i, in[i]);
}

KERNEL(test_integers, LANES)(const uint *in, uint *out, uint n)
{
    for (uint i = local_id(); i < n; i += LANES) {
        uint x = in[i], y = in[(i + 1) % n];
        ulong wide = (ulong)x << 32 | y;
        uint *to = out + 12 * i;
        to[0] = popcount(x);
        to[1] = leading_zeros(x);
        to[2] = min(x, y);
        to[3] = max(x, y);
        to[4] = x / (y | 1);
        to[5] = x % (y | 1);
        to[6] = (uint)(wide / (y | 1));
        to[7] = (uint)(wide % (x | 1));
        to[8] = (uint)(min(wide, (ulong)y << 31) >> 7);
        to[9] = (uint)((slong)wide / ((slong)(int)y | 1));
        to[10] = (uint)((slong)wide >> (x & 63));
        to[11] = as_uint(as_float(x));
    }
}

/* Group g of (x, y, z) writes lanes' numbers in reverse through group memory, and the atomics' results. */
KERNEL(test_groups, LANES)(uint *out, uint *lowest SCRATCH)
{
    SCRATCH_OF(scratch);
    SHARED uint bits[LANES / 32];
    uint lid = local_id(), group = (group_z() * 2 + group_y()) * groups_x() + group_x();
    if (lid < LANES / 32)
        bits[lid] = 0;
    scratch[lid] = 1000 * group + lid;
    group_barrier();
    if (lid % 3 == group % 3)
        atomic_or_local(bits + lid / 32, 1u << lid % 32);
    atomic_min_global(lowest, 77 + lid + group);
    uint other = scratch[local_size() - 1 - lid];
    group_barrier();
    out[2 * (LANES * group + lid)] = other;
    out[2 * (LANES * group + lid) + 1] = bits[lid / 32];
}

/* Constants in the code object, found from where the code itself is. */
KERNEL(test_table, LANES)(uint *out, uint n)
{
    static const __attribute__((constant)) uint table[] = {7, 11, 13, 17, 19, 23, 29, 31};
    out[local_id()] = table[local_id() % 8] * table[n % 8];
}

/* The second half of the lanes reads what the first wrote, with nothing in between. */
KERNEL(test_race, LANES)(uint *out SCRATCH)
{
    SCRATCH_OF(scratch);
    uint lid = local_id();
    scratch[lid] = lid;
    out[lid] = scratch[lid ^ 64];
}

KERNEL(test_outside, LANES)(uint *out, uint n)
{
    out[local_id() + n] = 1;
}
KERNEL(test_outside_group, LANES)(uint *out, uint n SCRATCH)
{
    SCRATCH_OF(scratch);
    out[local_id()] = scratch[local_id() + n];
}
