/* SPDX-License-Identifier: Apache-2.0
 *
 * Fibers: functions on stacks of their own, which hand the processor to each other by name.
 */
#ifndef SKV_TESTS_FIBER_H
#define SKV_TESTS_FIBER_H

#include <cstddef>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SKV_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SKV_ASAN 1
#endif

#if !defined(__x86_64__) || defined(SKV_FIBER_UCONTEXT)
#include <ucontext.h>
#undef SKV_FIBER_UCONTEXT
#define SKV_FIBER_UCONTEXT 1
#endif

namespace emulator
{

struct fiber {
#ifdef SKV_FIBER_UCONTEXT
    ucontext_t context;
#else
    void *stack_pointer;
#endif
    void *stack; /* NULL of the one that belongs to the host's thread */
    const void *stack_bottom;
    size_t stack_bytes;
    void *fake_stack; /* ASan's */
};

/* A stack for the fiber, kept until fiber_free; aborts where there is no memory. */
void fiber_allocate(fiber *f);
void fiber_free(fiber *f);
/* The next switch to the fiber calls entry, which must not return. */
void fiber_prepare(fiber *f, void (*entry)());
/* What entry must call first. */
void fiber_entered();
/* Goes on in `to`; returns when something switches back to `from`. A fiber that ends gives is_last. */
void fiber_switch(fiber *from, fiber *to, bool is_last);

} // namespace emulator

#endif
