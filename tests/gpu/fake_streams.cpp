/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams, recordings and events of the fake driver.
 */
#include <algorithm>
#include <chrono>

#include "tests/gpu/fake_driver.h"

namespace fake
{

/* Modes of a recording: calls that wait are refused to all threads, to the thread, or only on the stream. Threads are
 * not told apart. */
enum { MODE_GLOBAL, MODE_THREAD, MODE_RELAXED };

static std::vector<stream *> capturing;

/* ---- streams */

static code check_stream(stream *s)
{
    return !s || is_alive(s, STREAM) ? OK : INVALID_HANDLE;
}

static bool is_strict(const stream *s)
{
    return s->capture_mode != MODE_RELAXED;
}

code check_capture(stream *s)
{
    bool is_refused = s && s->capture != stream::NONE;
    for (stream *other : capturing)
        if (is_strict(other))
            is_refused = true;
    if (!is_refused)
        return OK;
    for (stream *other : capturing)
        if (other == s || is_strict(other))
            other->capture = stream::INVALIDATED;
    return CAPTURE_UNSUPPORTED;
}

code enqueue(stream *on, work w)
{
    if (code refused = check_stream(on))
        return refused;
    if (on && on->in != current())
        return INVALID_CONTEXT;
    if (!on && std::any_of(capturing.begin(), capturing.end(), is_strict))
        return CAPTURE_IMPLICIT;
    if (!on || on->capture == stream::NONE)
        w();
    else if (on->capture == stream::INVALIDATED)
        return CAPTURE_INVALIDATED;
    else
        on->captured.push_back(std::move(w));
    return OK;
}

code create_stream(stream **out)
{
    if (!out)
        return INVALID_VALUE;
    *out = new stream;
    (*out)->in = current();
    add(*out);
    return OK;
}

code destroy_stream(stream *s)
{
    if (!is_alive(s, STREAM))
        return INVALID_HANDLE;
    capturing.erase(std::remove(capturing.begin(), capturing.end(), s), capturing.end());
    remove(s);
    return OK;
}

code synchronize(stream *s)
{
    code refused = check_stream(s);
    return refused ? refused : check_capture(s);
}

code stream_context(stream *s, context **out)
{
    if (code refused = check_stream(s))
        return refused;
    *out = s ? s->in : current();
    return OK;
}

/* ---- recordings */

code capture_status(stream *s, int *status, uint64_t *recording)
{
    if (code refused = check_stream(s))
        return refused;
    if (!s && std::any_of(capturing.begin(), capturing.end(), is_strict))
        return CAPTURE_IMPLICIT;
    *status = s ? s->capture : stream::NONE;
    if (recording && s && s->capture != stream::NONE)
        *recording = s->recording;
    return OK;
}

code begin_capture(stream *s, int mode)
{
    if (code refused = check_stream(s))
        return refused;
    if (mode < MODE_GLOBAL || mode > MODE_RELAXED)
        return INVALID_VALUE;
    if (!s)
        return CAPTURE_UNSUPPORTED;
    if (s->capture != stream::NONE)
        return INVALID_VALUE;
    static uint64_t n_recordings;
    s->capture = stream::ACTIVE;
    s->capture_mode = mode;
    s->recording = ++n_recordings;
    capturing.push_back(s);
    return OK;
}

code end_capture(stream *s, graph **out)
{
    if (!is_alive(s, STREAM))
        return INVALID_HANDLE;
    if (s->capture == stream::NONE || !out)
        return INVALID_VALUE;
    bool is_lost = s->capture == stream::INVALIDATED;
    s->capture = stream::NONE;
    capturing.erase(std::remove(capturing.begin(), capturing.end(), s), capturing.end());
    std::vector<work> nodes = std::move(s->captured);
    s->captured.clear();
    *out = nullptr;
    if (is_lost)
        return CAPTURE_INVALIDATED;
    *out = new graph(GRAPH);
    (*out)->nodes = std::move(nodes);
    add(*out);
    return OK;
}

code instantiate(graph **out, graph *g)
{
    if (!out)
        return INVALID_VALUE;
    if (!is_alive(g, GRAPH))
        return INVALID_HANDLE;
    *out = new graph(GRAPH_EXEC);
    (*out)->nodes = g->nodes;
    add(*out);
    return OK;
}

code launch_graph(graph *exec, stream *on)
{
    if (!is_alive(exec, GRAPH_EXEC))
        return INVALID_HANDLE;
    return enqueue(on, [nodes = exec->nodes] {
        for (const work &node : nodes)
            node();
    });
}

code destroy_graph(graph *g, kind is)
{
    if (!is_alive(g, is))
        return INVALID_HANDLE;
    remove(g);
    return OK;
}

/* ---- events */

static double now()
{
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

code create_event(event **out)
{
    if (!out)
        return INVALID_VALUE;
    *out = new event;
    (*out)->in = current();
    add(*out);
    return OK;
}

code destroy_event(event *e)
{
    if (!is_alive(e, EVENT))
        return INVALID_HANDLE;
    remove(e);
    return OK;
}

code record(event *e, stream *on)
{
    if (!is_alive(e, EVENT) || check_stream(on) || e->in != current() || (on && on->in != e->in))
        return INVALID_HANDLE;
    /* In a recording an event only orders other streams: no graph records it. */
    if (on && on->capture == stream::INVALIDATED)
        return CAPTURE_INVALIDATED;
    e->is_captured = on && on->capture == stream::ACTIVE;
    if (e->is_captured)
        return OK;
    return enqueue(on, [e] {
        e->milliseconds = now();
        e->is_recorded = true;
    });
}

code synchronize(event *e)
{
    if (!is_alive(e, EVENT))
        return INVALID_HANDLE;
    if (e->is_captured)
        return CAPTURED_EVENT;
    return check_capture(nullptr);
}

code elapsed(float *milliseconds, event *start, event *end)
{
    if (!milliseconds)
        return INVALID_VALUE;
    if (!is_alive(start, EVENT) || !is_alive(end, EVENT) || !start->is_recorded || !end->is_recorded)
        return INVALID_HANDLE;
    if (start->is_captured || end->is_captured)
        return CAPTURED_EVENT;
    *milliseconds = (float)(end->milliseconds - start->milliseconds);
    return OK;
}

} // namespace fake
