/* SPDX-License-Identifier: Apache-2.0
 *
 * The fake CUDA driver's memory, streams, graphs and events.
 */
#include "tests/gpu/fake_cuda.h"

using namespace fake;

/* ---- memory */

static void *memory_at(CUdeviceptr at)
{
    return (void *)(uintptr_t)at;
}

EXPORT cuMemAlloc_v2(CUdeviceptr *out, size_t n_bytes)
{
    call in_call;
    if (in_call.must_fail)
        return OUT_OF_MEMORY;
    if (code refused = check_current())
        return refused;
    void *at = nullptr;
    code result = allocate(out ? &at : nullptr, n_bytes);
    if (!result)
        *out = (uintptr_t)at;
    return result;
}

EXPORT cuMemFree_v2(CUdeviceptr at)
{
    GIVE_BACK(check_current(), free_memory(memory_at(at)));
}

EXPORT cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t n_bytes, void *on)
{
    BEGIN(check_current());
    return copy(memory_at(to), true, from, false, n_bytes, stream_of(on));
}

EXPORT cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t n_bytes, void *on)
{
    BEGIN(check_current());
    return copy(to, false, memory_at(from), true, n_bytes, stream_of(on));
}

EXPORT cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t n_bytes, void *on)
{
    BEGIN(check_current());
    return copy(memory_at(to), true, memory_at(from), true, n_bytes, stream_of(on));
}

EXPORT cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t n, void *on)
{
    BEGIN(check_current());
    return fill(memory_at(to), value, 1, n, stream_of(on));
}

EXPORT cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t n, void *on)
{
    BEGIN(check_current());
    return fill(memory_at(to), value, 4, n, stream_of(on));
}

EXPORT cuPointerGetAttribute(void *out, int attribute, CUdeviceptr at)
{
    BEGIN(check_initialized());
    char *start;
    const allocation *a = find_allocation(memory_at(at), &start);
    if (!a || !out)
        return INVALID_VALUE;
    switch (attribute) {
    case 1:
        *(context **)out = a->in;
        return OK;
    case 2: /* memory of a device */
        *(unsigned *)out = 2;
        return OK;
    case 3:
        *(CUdeviceptr *)out = at;
        return OK;
    case 8: /* managed */
        *(unsigned *)out = 0;
        return OK;
    case 9:
        *(int *)out = a->in->device;
        return OK;
    case 11:
        *(CUdeviceptr *)out = (uintptr_t)start;
        return OK;
    case 12:
        *(size_t *)out = a->n_bytes;
        return OK;
    default:
        return INVALID_VALUE;
    }
}

/* ---- streams and graphs */

EXPORT cuStreamCreate(stream **out, unsigned flags)
{
    BEGIN(check_current());
    return flags > 1 ? INVALID_VALUE : create_stream(out);
}

EXPORT cuStreamDestroy_v2(stream *s)
{
    GIVE_BACK(check_current(), destroy_stream(s));
}

EXPORT cuStreamSynchronize(void *s)
{
    BEGIN(check_current());
    return synchronize(stream_of(s));
}

EXPORT cuStreamGetCtx(void *s, context **out)
{
    BEGIN(check_current());
    return out ? stream_context(stream_of(s), out) : INVALID_VALUE;
}

EXPORT cuStreamGetCaptureInfo(void *s, int *status, uint64_t *recording)
{
    BEGIN(check_current());
    return status ? capture_status(stream_of(s), status, recording) : INVALID_VALUE;
}

EXPORT cuStreamBeginCapture_v2(void *s, int mode)
{
    BEGIN(check_current());
    return begin_capture(stream_of(s), mode);
}

/* The recording ends where the call is made to fail, too, and makes no graph. */
EXPORT cuStreamEndCapture(void *s, graph **out)
{
    call in_call;
    code result = check_current();
    if (!result)
        result = end_capture(stream_of(s), out);
    if (in_call.must_fail) {
        if (!result) {
            destroy_graph(*out, GRAPH);
            *out = nullptr;
        }
        return UNKNOWN;
    }
    return result;
}

EXPORT cuGraphInstantiateWithFlags(graph **out, graph *g, unsigned long long flags)
{
    BEGIN(check_current());
    (void)flags;
    return instantiate(out, g);
}

EXPORT cuGraphLaunch(graph *exec, void *on)
{
    BEGIN(check_current());
    return launch_graph(exec, stream_of(on));
}

EXPORT cuGraphExecDestroy(graph *exec)
{
    GIVE_BACK(check_initialized(), destroy_graph(exec, GRAPH_EXEC));
}

EXPORT cuGraphDestroy(graph *g)
{
    GIVE_BACK(check_initialized(), destroy_graph(g, GRAPH));
}

/* ---- events */

EXPORT cuEventCreate(event **out, unsigned flags)
{
    BEGIN(check_current());
    return flags > 7 ? INVALID_VALUE : create_event(out);
}

EXPORT cuEventDestroy_v2(event *e)
{
    GIVE_BACK(check_current(), destroy_event(e));
}

EXPORT cuEventRecord(event *e, void *on)
{
    BEGIN(check_current());
    return record(e, stream_of(on));
}

EXPORT cuEventSynchronize(event *e)
{
    BEGIN(check_current());
    return synchronize(e);
}

EXPORT cuEventElapsedTime(float *milliseconds, event *start, event *end)
{
    BEGIN(check_current());
    return elapsed(milliseconds, start, end);
}

EXPORT cuEventElapsedTime_v2(float *milliseconds, event *start, event *end)
{
    BEGIN(check_current());
    return elapsed(milliseconds, start, end);
}
