/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKV_CORE_OBJECT_H
#define SKV_CORE_OBJECT_H

#include "core/backend.h"

/* Buffers, queues and timers hold a reference to their device; skv_device_release gives it back. */
void skv_device_reference(struct skv_device *device);

#endif
