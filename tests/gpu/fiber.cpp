/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/gpu/fiber.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <unistd.h>

#ifdef SKV_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulator
{

#ifdef SKV_ASAN
/* Red zones widen frames. */
static const size_t STACK_BYTES = 512 << 10;
/* Whom the running fiber was entered from: the first time, its stack's bounds are learnt here. */
static fiber *entered_from;
#else
static const size_t STACK_BYTES = 128 << 10;
#endif

#ifndef SKV_FIBER_UCONTEXT
/* Saves what a call must preserve, and the stack; no floating-point modes, which no kernel changes. */
extern "C" void skv_fiber_swap(void **save, void *to) __attribute__((visibility("hidden")));
asm(".text\n"
    ".globl skv_fiber_swap\n"
    ".hidden skv_fiber_swap\n"
    ".type skv_fiber_swap, @function\n"
    "skv_fiber_swap:\n"
    "    pushq %rbp\n"
    "    pushq %rbx\n"
    "    pushq %r12\n"
    "    pushq %r13\n"
    "    pushq %r14\n"
    "    pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n"
    "    popq %r14\n"
    "    popq %r13\n"
    "    popq %r12\n"
    "    popq %rbx\n"
    "    popq %rbp\n"
    "    ret\n"
    ".size skv_fiber_swap, .-skv_fiber_swap\n");
#endif

void fiber_allocate(fiber *f)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *memory = mmap(nullptr, page + STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE)) {
        fputs("emulator: no memory for stacks\n", stderr);
        abort();
    }
    *f = fiber();
    f->stack = memory;
    f->stack_bottom = (char *)memory + page;
    f->stack_bytes = STACK_BYTES;
}

void fiber_free(fiber *f)
{
    munmap(f->stack, (size_t)sysconf(_SC_PAGESIZE) + STACK_BYTES);
    *f = fiber();
}

void fiber_prepare(fiber *f, void (*entry)())
{
    char *bottom = (char *)const_cast<void *>(f->stack_bottom);
#ifdef SKV_ASAN
    /* What the frames of the last run, which never returned, left behind. */
    __asan_unpoison_memory_region(bottom + f->stack_bytes - 8192, 8192);
    f->fake_stack = nullptr;
#endif
#ifdef SKV_FIBER_UCONTEXT
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = bottom;
    f->context.uc_stack.ss_size = f->stack_bytes;
    f->context.uc_link = nullptr;
    makecontext(&f->context, entry, 0);
#else
    /* At entry the stack is 8 bytes off a multiple of 16, as behind a call; a NULL return address ends backtraces. */
    void **top = (void **)(bottom + f->stack_bytes) - 1;
    *top = nullptr;
    *--top = (void *)entry;
    for (int i = 0; i < 6; i++)
        *--top = nullptr;
    f->stack_pointer = top;
#endif
}

void fiber_entered()
{
#ifdef SKV_ASAN
    fiber *from = entered_from;
    const void *bottom;
    size_t n_bytes;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &n_bytes);
    if (!from->stack) {
        from->stack_bottom = bottom;
        from->stack_bytes = n_bytes;
    }
#endif
}

void fiber_switch(fiber *from, fiber *to, bool is_last)
{
#ifdef SKV_ASAN
    entered_from = from;
    __sanitizer_start_switch_fiber(is_last ? nullptr : &from->fake_stack, to->stack_bottom, to->stack_bytes);
#else
    (void)is_last;
#endif
#ifdef SKV_FIBER_UCONTEXT
    swapcontext(&from->context, &to->context);
#else
    skv_fiber_swap(&from->stack_pointer, to->stack_pointer);
#endif
#ifdef SKV_ASAN
    __sanitizer_finish_switch_fiber(from->fake_stack, nullptr, nullptr);
#endif
}

} // namespace emulator
