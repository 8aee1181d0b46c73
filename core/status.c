/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/backend.h"

#define MESSAGE_BYTES 640

static _Thread_local char last_message[MESSAGE_BYTES];

static struct {
    pthread_mutex_t lock;
    void (*write)(void *user, skv_log_level level, const char *message);
    void *user;
    /* Read without the lock so that a dropped message costs one load. */
    atomic_int max_level;
} log_handler = {.lock = PTHREAD_MUTEX_INITIALIZER};

const char *skv_status_name(skv_status status)
{
    switch (status) {
    case SKV_OK:
        return "SKV_OK";
    case SKV_ERROR_INVALID_ARGUMENT:
        return "SKV_ERROR_INVALID_ARGUMENT";
    case SKV_ERROR_STRUCT_SIZE:
        return "SKV_ERROR_STRUCT_SIZE";
    case SKV_ERROR_OVERFLOW:
        return "SKV_ERROR_OVERFLOW";
    case SKV_ERROR_ALIGNMENT:
        return "SKV_ERROR_ALIGNMENT";
    case SKV_ERROR_OUT_OF_BOUNDS:
        return "SKV_ERROR_OUT_OF_BOUNDS";
    case SKV_ERROR_WRONG_DEVICE:
        return "SKV_ERROR_WRONG_DEVICE";
    case SKV_ERROR_UNSUPPORTED:
        return "SKV_ERROR_UNSUPPORTED";
    case SKV_ERROR_NOT_FOUND:
        return "SKV_ERROR_NOT_FOUND";
    case SKV_ERROR_OUT_OF_MEMORY:
        return "SKV_ERROR_OUT_OF_MEMORY";
    case SKV_ERROR_CAPACITY:
        return "SKV_ERROR_CAPACITY";
    case SKV_ERROR_DEVICE:
        return "SKV_ERROR_DEVICE";
    case SKV_ERROR_DEVICE_LOST:
        return "SKV_ERROR_DEVICE_LOST";
    }
    return "unknown status";
}

const char *skv_error_message(void)
{
    return last_message;
}

uint32_t skv_version(void)
{
    return SKV_VERSION;
}

uint32_t skv_dtype_bytes(skv_dtype dtype)
{
    switch (dtype) {
    case SKV_F16:
    case SKV_BF16:
        return 2;
    case SKV_F32:
        return 4;
    case SKV_DTYPE_DEFAULT:
        break;
    }
    return 0;
}

void skv_log_set(void (*write)(void *user, skv_log_level level, const char *message), void *user,
                 skv_log_level max_level)
{
    pthread_mutex_lock(&log_handler.lock);
    log_handler.write = write;
    log_handler.user = user;
    atomic_store(&log_handler.max_level, write ? (int)max_level : (int)SKV_LOG_NONE);
    pthread_mutex_unlock(&log_handler.lock);
}

static void log_text(enum skv_log_level level, const char *text)
{
    pthread_mutex_lock(&log_handler.lock);
    void (*write)(void *, skv_log_level, const char *) = log_handler.write;
    void *user = log_handler.user;
    pthread_mutex_unlock(&log_handler.lock);
    /* Outside the lock, so that a slow handler does not hold up other threads. */
    if (write)
        write(user, level, text);
}

void skv_log(enum skv_log_level level, const char *format, ...)
{
    if ((int)level > atomic_load_explicit(&log_handler.max_level, memory_order_relaxed))
        return;
    char text[MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_text(level, text);
}

enum skv_status skv_fail(enum skv_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(last_message, sizeof last_message, format, args);
    va_end(args);
    if ((int)SKV_LOG_ERROR <= atomic_load_explicit(&log_handler.max_level, memory_order_relaxed))
        log_text(SKV_LOG_ERROR, last_message);
    return status;
}
