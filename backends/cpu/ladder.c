/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu/ladder.h"

#include <string.h>

#if defined(SKV_CPU_HAVE_AMX) && !defined(SKV_CPU_AMX_EMULATED)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#if defined(SKV_CPU_HAVE_AVX2)
#include <cpuid.h>

/* __builtin_cpu_supports checks that the operating system saves the wide registers; it has no name for F16C in every
 * supported compiler, so that one bit is read from CPUID leaf 1. */
static int usable_avx2(void)
{
    unsigned a, b, c, d;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2") && __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

#if defined(SKV_CPU_HAVE_AVX512)
static int usable_avx512(void)
{
    return usable_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#endif

#if defined(SKV_CPU_HAVE_AVX512VBMI2)
static int usable_avx512vbmi2(void)
{
    return usable_avx512() && __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vbmi") &&
           __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("gfni");
}
#endif

#if defined(SKV_CPU_HAVE_AVX512BF16)
static int usable_avx512bf16(void)
{
    return usable_avx512vbmi2() && __builtin_cpu_supports("avx512bf16");
}
#endif

#if defined(SKV_CPU_HAVE_AMX) && defined(SKV_CPU_AMX_EMULATED)
static int usable_amx(void)
{
    return usable_avx512bf16();
}

static int admit_amx(void)
{
    return 1;
}
#elif defined(SKV_CPU_HAVE_AMX)
/* Of <asm/prctl.h>, which older systems lack. */
#define GET_XCOMP_SUPP 0x1021
#define REQ_XCOMP_PERM 0x1023
#define TILE_DATA 18

static int usable_amx(void)
{
    unsigned a, b, c, d;
    unsigned long states = 0;
    return usable_avx512bf16() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & 1u << 22) && (d & 1u << 24) &&
           syscall(SYS_arch_prctl, GET_XCOMP_SUPP, &states) == 0 && (states >> TILE_DATA & 1);
}

/* Linux gives the tile registers to processes that ask, for all their threads; it refuses where a thread has an
 * alternate signal stack that could not hold them. */
static int admit_amx(void)
{
    return syscall(SYS_arch_prctl, REQ_XCOMP_PERM, TILE_DATA) == 0;
}
#endif
#endif

static struct skv_cpu_habits find_habits(void)
{
#if defined(SKV_CPU_AMX_EMULATED)
    /* What has AMX is Intel's. */
    return (struct skv_cpu_habits){.streams = false, .halves = false};
#elif defined(SKV_CPU_X86)
    bool amd = __builtin_cpu_is("amd");
    return (struct skv_cpu_habits){.streams = amd, .halves = amd};
#else
    return (struct skv_cpu_habits){.streams = false, .halves = false};
#endif
}

static int usable_always(void)
{
    return 1;
}

struct level {
    const char *name;
    int (*usable)(void);
    void (*attend)(struct skv_cpu_kernels *table);
    void (*compress)(struct skv_cpu_kernels *table);
    int (*admit)(void); /* NULL: nothing to ask for */
};

static const struct level levels[] = {
    {"scalar", usable_always, skv_cpu_attend_scalar, skv_cpu_compress_scalar, NULL},
#if defined(SKV_CPU_HAVE_AVX2)
    {"avx2", usable_avx2, skv_cpu_attend_avx2, skv_cpu_compress_avx2, NULL},
#endif
#if defined(SKV_CPU_HAVE_AVX512)
    {"avx512", usable_avx512, skv_cpu_attend_avx512, skv_cpu_compress_avx512, NULL},
#endif
#if defined(SKV_CPU_HAVE_AVX512VBMI2)
    {"avx512vbmi2", usable_avx512vbmi2, skv_cpu_attend_avx512vbmi2, skv_cpu_compress_avx512vbmi2, NULL},
#endif
#if defined(SKV_CPU_HAVE_AVX512BF16)
    {"avx512bf16", usable_avx512bf16, skv_cpu_attend_avx512bf16, NULL, NULL},
#endif
#if defined(SKV_CPU_HAVE_AMX)
    {"amx", usable_amx, skv_cpu_attend_amx, NULL, admit_amx},
#endif
#if defined(SKV_CPU_HAVE_NEON)
    {"neon", usable_always, skv_cpu_attend_neon, skv_cpu_compress_neon, NULL},
#endif
};

unsigned skv_cpu_ladder_count(void)
{
    return sizeof levels / sizeof levels[0];
}

const char *skv_cpu_ladder_name(unsigned level)
{
    return levels[level].name;
}

int skv_cpu_ladder_usable(unsigned level)
{
    return levels[level].usable();
}

int skv_cpu_ladder_admit(unsigned level)
{
    return !levels[level].admit || levels[level].admit();
}

void skv_cpu_ladder_fill(unsigned level, struct skv_cpu_kernels *table)
{
    skv_cpu_ladder_fill_for(level, find_habits(), table);
}

void skv_cpu_ladder_fill_for(unsigned level, struct skv_cpu_habits habits, struct skv_cpu_kernels *table)
{
    memset(table, 0, sizeof *table);
    table->habits = habits;
    for (unsigned i = 0; i <= level; i++) {
        if (!levels[i].usable())
            continue;
        levels[i].attend(table);
        if (levels[i].compress)
            levels[i].compress(table);
        table->isa = levels[i].name;
    }
}
