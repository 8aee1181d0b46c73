/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file device.h
 * Backends, devices and what they can do.
 */
#ifndef SKV_DEVICE_H
#define SKV_DEVICE_H

#include <skv/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/** An opened device. Reference-counted: its queues, buffers and timers keep it alive. */
typedef struct skv_device skv_device;

/** One way of computing ("cpu", "cuda", "hip", "opencl"), listed whether or not it is usable here. */
typedef struct skv_backend_info {
    uint32_t struct_size;
    uint32_t built;     /**< 1 when this library was built with it */
    uint32_t n_devices; /**< usable and unusable devices found */
    char name[16];
    char reason[256]; /**< why there is no device: not built in, driver missing, .. ; empty when there is one */
} skv_backend_info;

/** Number of backends known to this version, built or not. Thread-safety: any thread. */
SKV_API uint32_t skv_backend_count(void);

/**
 * Describes backend i_backend. May load the backend's driver.
 * @return SKV_ERROR_OUT_OF_BOUNDS for i_backend >= skv_backend_count(), SKV_ERROR_STRUCT_SIZE,
 *         SKV_ERROR_INVALID_ARGUMENT for NULL. Thread-safety: any thread.
 */
SKV_API skv_status skv_backend_get_info(uint32_t i_backend, skv_backend_info *info);

typedef enum skv_device_kind {
    SKV_DEVICE_OTHER = 0, /**< an accelerator of another kind */
    SKV_DEVICE_CPU = 1,
    SKV_DEVICE_GPU = 2
} skv_device_kind;

/** A device as found on this machine. */
typedef struct skv_device_info {
    uint32_t struct_size;
    uint32_t usable;        /**< 0: `reason` says why it cannot be opened */
    uint32_t compute_units; /**< cores or multiprocessors */
    uint32_t kind;          /**< skv_device_kind */
    uint64_t memory_bytes;
    uint64_t native;   /**< the driver's own handle of it, a cl_device_id or an ordinal; 0 for "cpu" */
    char id[32];       /**< what skv_device_params::id takes: "cpu", "cuda:0", .. */
    char backend[16];  /**< "cpu", "cuda", "hip", "opencl" */
    char name[128];    /**< the vendor's name of it */
    char driver[96];   /**< driver and version; for "cpu" the compiler that built the kernels */
    char variant[128]; /**< what would run, or runs once opened: for "cpu" the instruction set and thread count */
    char reason[256];
} skv_device_info;

/** Number of devices of all backends, usable or not. Thread-safety: any thread. */
SKV_API uint32_t skv_device_count(void);

/** Describes device i_device of this machine without opening it. Errors as skv_backend_get_info. */
SKV_API skv_status skv_device_find(uint32_t i_device, skv_device_info *info);

/**
 * The host application's own thread pool, for the CPU backend. `run` must call task(context, i) exactly once for each i
 * in [0, n_tasks), on any threads and in any order, and return when all are done. A task needs 512 KiB of stack. It may
 * be called from several queues' threads at a time.
 */
typedef struct skv_executor {
    void (*run)(void *user, void (*task)(void *context, size_t i_task), void *context, size_t n_tasks);
    void *user;
    uint32_t n_threads; /**< how many tasks can run at once; at least 1 */
} skv_executor;

typedef struct skv_device_params {
    uint32_t struct_size;
    uint32_t flags; /**< none defined: must be 0 */
    /**
     * Which device: "cpu", "cuda:1", or a backend's name for its first usable device. NULL: the environment variable
     * SKV_DEVICE, and where that is unset or empty the first usable GPU of cuda, hip, opencl, else "cpu". The choice is
     * logged. A named device that cannot be opened is an error; another one is never taken instead.
     */
    const char *id;
    /**
     * CPU only. Highest instruction-set level to use ("scalar", "avx2", "avx512", "avx512vbmi2", "avx512bf16", "amx",
     * "neon"). NULL: the environment variable SKV_CPU_ISA, and where that is unset or empty the best one of this
     * machine. "amx" asks the system for AMX's registers for the whole process (docs/cpu.md says what follows).
     */
    const char *cpu_isa;
    /** CPU only. Threads, the caller's included. 0: SKV_CPU_THREADS, else the cores this process may use. */
    uint32_t cpu_threads;
    uint32_t reserved;
    /** CPU only. Runs the work instead of the library's own threads; copied. NULL: own threads. */
    const skv_executor *cpu_executor;
    /**
     * Work in this context of the caller's instead of a new one: a cl_context that holds the device `id` (compare
     * skv_device_info::native), as an integer. 0: make one. Must be valid during the call; it is retained. HIP devices
     * have one context, and take 0 only.
     */
    uint64_t native_context;
} skv_device_params;

/**
 * Opens a device. NULL params mean all defaults.
 * Ownership: the caller releases *device with skv_device_release.
 * @return SKV_ERROR_NOT_FOUND (no such id, or nothing usable: the message lists what was found and why not),
 *         SKV_ERROR_UNSUPPORTED (the machine lacks the level in cpu_isa), SKV_ERROR_INVALID_ARGUMENT,
 * SKV_ERROR_STRUCT_SIZE, SKV_ERROR_OUT_OF_MEMORY, SKV_ERROR_DEVICE. Thread-safety: any thread.
 */
SKV_API skv_status skv_device_open(const skv_device_params *params, skv_device **device);

/** Gives back the caller's reference; NULL is allowed. The device ends with the last object made on it. */
SKV_API void skv_device_release(skv_device *device);

/** Describes an opened device, with the variant really in use. Thread-safety: any thread. */
SKV_API skv_status skv_device_get_info(const skv_device *device, skv_device_info *info);

/** What a device can do, as data. Bits of the masks are 1u << enumerator. */
typedef struct skv_limits {
    uint32_t struct_size;
    uint32_t dtypes;           /**< storage types of K and V, 1u << skv_dtype */
    uint32_t query_dtypes;     /**< of queries and outputs, 1u << skv_dtype */
    uint32_t forms;            /**< 1u << skv_form */
    uint32_t strategies;       /**< 1u << skv_strategy */
    uint32_t head_dim_max;     /**< any multiple of 8 up to this */
    uint32_t page_tokens_max;  /**< any multiple of 32 up to this */
    uint32_t group_max;        /**< query heads per KV head */
    uint32_t new_tokens_max;   /**< query tokens per sequence in one attend */
    uint32_t host_memory;      /**< 1: buffers are plain host memory; host memory can be wrapped without a copy */
    uint32_t synchronous;      /**< 1: an operation is complete when its call returns */
    uint32_t offset_alignment; /**< of span offsets of pools and workspaces, bytes */
    uint64_t buffer_bytes_max; /**< of one buffer */
} skv_limits;

/** Thread-safety: any thread. Errors: SKV_ERROR_INVALID_ARGUMENT, SKV_ERROR_STRUCT_SIZE. */
SKV_API skv_status skv_device_get_limits(const skv_device *device, skv_limits *limits);

#ifdef __cplusplus
}
#endif

#endif
