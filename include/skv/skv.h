/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file skv.h
 * skv: sparse key-value caches for LLM inference, everywhere. Prune token rows, compress the survivors into a bitmap
 * format, and run decode attention directly on the compressed cache, with the same bytes on every backend.
 *
 *   device.h  find and open devices          layout.h  shape and bytes of a compressed cache
 *   memory.h  buffers, queues, timers        ops.h     prune, compress, decompress, attend, merge
 *   base.h    statuses, messages, the log
 */
#ifndef SKV_SKV_H
#define SKV_SKV_H

#include <skv/base.h>
#include <skv/device.h>
#include <skv/layout.h>
#include <skv/memory.h>
#include <skv/ops.h>

#endif
