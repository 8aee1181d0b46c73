/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file memory.h
 * Buffers, queues and timers.
 */
#ifndef SKV_MEMORY_H
#define SKV_MEMORY_H

#include <skv/device.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Device memory. Memory is always named by (buffer, byte offset), since not every backend has pointers.
 * Thread-safety: a buffer is immutable as an object; its contents are ordered by the queues that touch them.
 */
typedef struct skv_buffer skv_buffer;

/** A place in a buffer. {NULL, 0} means "absent" where a field is optional. */
typedef struct skv_span {
    skv_buffer *buffer;
    uint64_t offset; /**< bytes */
} skv_span;

typedef struct skv_buffer_params {
    uint32_t struct_size;
    uint32_t flags; /**< none defined: must be 0 */
    uint64_t bytes; /**< at least 1 */
    /**
     * Wrap this host memory at no cost instead of allocating: only where skv_limits::host_memory is 1. Must hold
     * `bytes` bytes, and outlive the buffer.
     */
    void *host;
    /**
     * Wrap this native handle at no cost instead of allocating: a CUdeviceptr, hipDeviceptr_t or cl_mem as an integer.
     * Must outlive the buffer. At most one of host and native may be set.
     */
    uint64_t native;
} skv_buffer_params;

/**
 * Makes a buffer; allocated memory is aligned to at least 64 bytes and its contents are undefined.
 * Ownership: the caller destroys it with skv_buffer_destroy, after the operations that use it have completed.
 * @return SKV_ERROR_INVALID_ARGUMENT, SKV_ERROR_STRUCT_SIZE, SKV_ERROR_OVERFLOW (bytes above
 * skv_limits::buffer_bytes_max), SKV_ERROR_UNSUPPORTED (a wrap this device cannot do), SKV_ERROR_OUT_OF_MEMORY,
 * SKV_ERROR_DEVICE.
 */
SKV_API skv_status skv_buffer_create(skv_device *device, const skv_buffer_params *params, skv_buffer **buffer);
/** NULL is allowed. Memory that was wrapped is left alone. */
SKV_API void skv_buffer_destroy(skv_buffer *buffer);
SKV_API uint64_t skv_buffer_bytes(const skv_buffer *buffer);
/** The memory's host address, or NULL where the device's memory has none. */
SKV_API void *skv_buffer_host(const skv_buffer *buffer);
/** The native handle (for "cpu" the address). */
SKV_API uint64_t skv_buffer_native(const skv_buffer *buffer);

/**
 * An ordered stream of work. Operations complete in the order they were enqueued.
 * Thread-safety: one thread at a time per queue; different queues are independent.
 */
typedef struct skv_queue skv_queue;

typedef struct skv_queue_params {
    uint32_t struct_size;
    uint32_t flags;  /**< none defined: must be 0 */
    uint64_t native; /**< wrap this CUstream, hipStream_t or cl_command_queue; 0: make one. Must outlive the queue. */
} skv_queue_params;

/** NULL params mean all defaults. Ownership: the caller destroys it with skv_queue_destroy. Errors as
 * skv_buffer_create. */
SKV_API skv_status skv_queue_create(skv_device *device, const skv_queue_params *params, skv_queue **queue);
/** Waits for the queue's work, then frees it. NULL is allowed. */
SKV_API void skv_queue_destroy(skv_queue *queue);
/**
 * Waits until all enqueued work is done.
 * @return the first fault that the device found in data since the last call (SKV_ERROR_OUT_OF_BOUNDS,
 *         SKV_ERROR_CAPACITY), SKV_ERROR_DEVICE, SKV_ERROR_DEVICE_LOST.
 */
SKV_API skv_status skv_queue_finish(skv_queue *queue);
/**
 * Names of the kernels that the queue's latest operation used, e.g. "attend f16.records.m4.avx512vbmi2"; "" before the
 * first. Valid until the queue's next operation.
 */
SKV_API const char *skv_queue_last_kernel(const skv_queue *queue);

/**
 * Copies between host memory and a span, in queue order, and returns when the host memory may be reused or read.
 * @return SKV_ERROR_INVALID_ARGUMENT (NULL), SKV_ERROR_WRONG_DEVICE, SKV_ERROR_OUT_OF_BOUNDS, SKV_ERROR_DEVICE.
 *         n_bytes 0 does nothing.
 */
SKV_API skv_status skv_buffer_write(skv_queue *queue, skv_span to, const void *from, uint64_t n_bytes);
SKV_API skv_status skv_buffer_read(skv_queue *queue, void *to, skv_span from, uint64_t n_bytes);
/** Copies within or between buffers of one device, in queue order. The spans must not overlap. Errors as above. */
SKV_API skv_status skv_buffer_copy(skv_queue *queue, skv_span to, skv_span from, uint64_t n_bytes);
/** Sets n_bytes bytes to value, in queue order. Errors as above. */
SKV_API skv_status skv_buffer_fill(skv_queue *queue, skv_span to, uint8_t value, uint64_t n_bytes);

/** Measures the time a queue spends between two points, on the device's own clock. One thread at a time. */
typedef struct skv_timer skv_timer;

SKV_API skv_status skv_timer_create(skv_device *device, skv_timer **timer);
SKV_API void skv_timer_destroy(skv_timer *timer);
SKV_API skv_status skv_timer_start(skv_timer *timer, skv_queue *queue);
SKV_API skv_status skv_timer_stop(skv_timer *timer, skv_queue *queue);
/**
 * Waits for the stop point.
 * @return SKV_ERROR_INVALID_ARGUMENT when the timer was not started and stopped, SKV_ERROR_UNSUPPORTED when the
 * device's driver gives no times.
 */
SKV_API skv_status skv_timer_read(skv_timer *timer, uint64_t *nanoseconds);

#ifdef __cplusplus
}
#endif

#endif
