/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base.h
 * Status codes, error texts, the log, value types and the version.
 *
 * Rules that hold for every function of skv:
 *   - A function that can fail returns skv_status. On anything but SKV_OK nothing was enqueued and no output was
 * written, and skv_error_message() names the argument, its value and the rule it broke. Exceptions say so where they
 * are.
 *   - The library never aborts, exits or prints. Messages go to the log handler, when there is one.
 *   - Parameter and info structs start with `struct_size`, which the caller sets to sizeof of the struct it was
 * compiled with. All other fields of a zeroed struct mean "default". A library that is older than its caller refuses
 * nonzero fields it does not know (SKV_ERROR_STRUCT_SIZE), and unknown flag bits (SKV_ERROR_INVALID_ARGUMENT).
 *   - Sizes and offsets are 64-bit and every product of sizes is checked for overflow.
 */
#ifndef SKV_BASE_H
#define SKV_BASE_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define SKV_API __declspec(dllexport)
#elif defined(__GNUC__)
#define SKV_API __attribute__((visibility("default")))
#else
#define SKV_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define SKV_VERSION_MAJOR 0
#define SKV_VERSION_MINOR 1
#define SKV_VERSION_PATCH 0
#define SKV_VERSION (SKV_VERSION_MAJOR * 10000 + SKV_VERSION_MINOR * 100 + SKV_VERSION_PATCH)

/** What a call came to. Values are stable; new ones may be added. */
typedef enum skv_status {
    SKV_OK = 0,
    SKV_ERROR_INVALID_ARGUMENT = 1, /**< NULL, zero, unknown enum value or flag, a value outside its documented range */
    SKV_ERROR_STRUCT_SIZE = 2,      /**< struct_size is not that of any known version, or an unknown field is nonzero */
    SKV_ERROR_OVERFLOW = 3,         /**< a size computed from the arguments does not fit */
    SKV_ERROR_ALIGNMENT = 4,        /**< an offset, stride or address is not a multiple of what is required */
    SKV_ERROR_OUT_OF_BOUNDS = 5,    /**< a span, table entry, length or slot reaches outside its buffer or pool */
    SKV_ERROR_WRONG_DEVICE = 6,     /**< objects of different devices were mixed in one call */
    SKV_ERROR_UNSUPPORTED = 7,      /**< legal, but this device or build cannot do it; the message says why */
    SKV_ERROR_NOT_FOUND = 8,        /**< no such device or backend */
    SKV_ERROR_OUT_OF_MEMORY = 9,    /**< host or device memory could not be had */
    SKV_ERROR_CAPACITY = 10,        /**< a ragged page is too small for the rows written to it */
    SKV_ERROR_DEVICE = 11,          /**< a driver call failed; the message carries the driver's own words */
    SKV_ERROR_DEVICE_LOST = 12      /**< the device no longer answers; its objects can only be destroyed */
} skv_status;

/** The enumerator's name, e.g. "SKV_ERROR_OVERFLOW"; "unknown status" for other values. Thread-safety: any thread. */
SKV_API const char *skv_status_name(skv_status status);

/**
 * The text of the calling thread's last failed call: argument, value, rule. Empty when none has failed yet.
 * Ownership: static storage of the thread, valid until the thread's next failing call.
 */
SKV_API const char *skv_error_message(void);

/** SKV_VERSION of the library that was loaded, which may differ from the header's. */
SKV_API uint32_t skv_version(void);

/** Storage types. */
typedef enum skv_dtype {
    SKV_DTYPE_DEFAULT = 0, /**< the default of the field it stands in */
    SKV_F16 = 1,           /**< IEEE 754 binary16 */
    SKV_BF16 = 2,          /**< bfloat16: the upper half of a binary32 */
    SKV_F32 = 3            /**< IEEE 754 binary32 */
} skv_dtype;

/** Bytes of one value: 2, 2, 4; 0 for anything else. */
SKV_API uint32_t skv_dtype_bytes(skv_dtype dtype);

typedef enum skv_log_level {
    SKV_LOG_NONE = 0,
    SKV_LOG_ERROR = 1, /**< every failing call, with its message */
    SKV_LOG_WARN = 2,  /**< something works, but worse than it should */
    SKV_LOG_INFO = 3,  /**< which device and kernels were chosen */
    SKV_LOG_DEBUG = 4
} skv_log_level;

/**
 * Sets the process-wide log handler; NULL removes it. Messages above max_level are dropped before they are formatted.
 * `write` is called from the thread that caused the message, one call at a time per thread; the text ends without a
 * newline and is valid during the call only. It must not call back into skv. Thread-safety: any thread; calls under way
 * may still use the former handler until they return.
 */
SKV_API void skv_log_set(void (*write)(void *user, skv_log_level level, const char *message), void *user,
                         skv_log_level max_level);

#ifdef __cplusplus
}
#endif

#endif
