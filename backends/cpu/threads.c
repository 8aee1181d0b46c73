/* SPDX-License-Identifier: Apache-2.0 */
#if defined(__linux__)
#define _GNU_SOURCE
#include <sched.h>
#endif
#include <unistd.h>

#include "backends/cpu/cpu.h"

#if defined(SKV_WITH_PTHREADPOOL)
#include <pthreadpool.h>
#endif

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#endif

struct skv_cpu_pool {
    struct skv_executor executor; /* run == NULL: none */
#if defined(SKV_WITH_PTHREADPOOL)
    pthreadpool_t threads; /* NULL: the caller's thread alone */
#endif
    uint32_t n_threads;
};

uint32_t skv_cpu_cores(void)
{
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return (uint32_t)CPU_COUNT(&set);
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (uint32_t)n : 1;
}

struct skv_cpu_pool *skv_cpu_pool_create(uint32_t n_threads, const struct skv_executor *executor)
{
    struct skv_cpu_pool *pool = skv_alloc(sizeof *pool);
    if (!pool)
        return NULL;
    pool->n_threads = n_threads;
    if (executor) {
        pool->executor = *executor;
        pool->n_threads = executor->n_threads;
        return pool;
    }
#if defined(SKV_WITH_PTHREADPOOL)
    if (n_threads > 1) {
        pool->threads = pthreadpool_create(n_threads);
        if (!pool->threads) {
            skv_free(pool);
            return NULL;
        }
    }
#else
    pool->n_threads = 1;
#endif
    return pool;
}

void skv_cpu_pool_destroy(struct skv_cpu_pool *pool)
{
    if (!pool)
        return;
#if defined(SKV_WITH_PTHREADPOOL)
    pthreadpool_destroy(pool->threads);
#endif
    skv_free(pool);
}

uint32_t skv_cpu_pool_threads(const struct skv_cpu_pool *pool)
{
    return pool->n_threads;
}

#if defined(SKV_WITH_PTHREADPOOL) && defined(UNDER_TSAN)
#include <sanitizer/tsan_interface.h>

/* pthreadpool is not compiled for ThreadSanitizer, which therefore misses that tasks happen after the call and before
 * its return. The annotations say just that, so that races between tasks, and with anything else, are still found. */
struct annotated {
    void (*task)(void *context, size_t i_task);
    void *context;
};

static void run_annotated(void *context, size_t i_task)
{
    struct annotated *job = context;
    __tsan_acquire(job);
    job->task(job->context, i_task);
    __tsan_release(job);
}

static void run_on_threads(pthreadpool_t threads, void (*task)(void *context, size_t i_task), void *context,
                           size_t n_tasks)
{
    struct annotated job = {task, context};
    __tsan_release(&job);
    pthreadpool_parallelize_1d(threads, run_annotated, &job, n_tasks, 0);
    __tsan_acquire(&job);
}
#elif defined(SKV_WITH_PTHREADPOOL)
static void run_on_threads(pthreadpool_t threads, void (*task)(void *context, size_t i_task), void *context,
                           size_t n_tasks)
{
    pthreadpool_parallelize_1d(threads, task, context, n_tasks, 0);
}
#endif

void skv_cpu_pool_run(struct skv_cpu_pool *pool, void (*task)(void *context, size_t i_task), void *context,
                      size_t n_tasks)
{
    if (n_tasks > 1 && pool->executor.run) {
        pool->executor.run(pool->executor.user, task, context, n_tasks);
        return;
    }
#if defined(SKV_WITH_PTHREADPOOL)
    if (n_tasks > 1 && pool->threads) {
        run_on_threads(pool->threads, task, context, n_tasks);
        return;
    }
#endif
    for (size_t i = 0; i < n_tasks; i++)
        task(context, i);
}
