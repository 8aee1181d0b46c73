/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu/pass.h"

#include <math.h>
#include <stdbool.h>

/* Tiles whose K all come before their V, where that pays: as many as a block mostly has heads. */
#define BATCH_TILES 8

/* Positions that a query at `position` sees: [0, sinks) and [begin, position]. */
static uint64_t window_begin(const struct skv_attend_params *params, uint64_t position)
{
    return params->window && position + 1 > params->window ? position + 1 - params->window : 0;
}

/* The rows of a tile that a chunk sees. Returns their number; all rows visible is the usual case and copies nothing. */
static uint32_t visible_rows(const struct skv_attend_params *params, const struct skv_cpu_chunk *chunk,
                             const struct skv_cpu_tile *tile, const uint8_t **k, const uint8_t **v)
{
    if (!chunk->exists)
        return 0;
    uint64_t begin = window_begin(params, chunk->position);
    if (tile->first >= begin && tile->first + tile->n <= chunk->position + 1)
        return tile->n;
    uint32_t n = 0;
    for (uint32_t t = 0; t < tile->n; t++) {
        uint64_t position = tile->first + t;
        if (position > chunk->position || (position < begin && position >= params->sink_tokens))
            continue;
        k[n] = skv_cpu_row(&tile->k, t);
        v[n++] = skv_cpu_row(&tile->v, t);
    }
    return n;
}

/* Where a window leaves a gap behind the sinks that no chunk sees, the walk passes over it. */
static void find_gap(const struct skv_cpu_chunk *chunks, uint32_t n_chunks, struct skv_cpu_walk *walk)
{
    walk->gap_first = walk->gap_end = walk->params->sink_tokens;
    if (!walk->params->window)
        return;
    walk->gap_end = UINT64_MAX;
    for (uint32_t i = 0; i < n_chunks; i++) {
        uint64_t its = chunks[i].exists ? window_begin(walk->params, chunks[i].position) : UINT64_MAX;
        walk->gap_end = its < walk->gap_end ? its : walk->gap_end;
    }
}

/* softcap * tanh(scale * s / softcap) in place of scale * s. */
static void cap_scores(const struct skv_attend_params *params, float *s, uint32_t n, uint32_t m)
{
    float inner = params->scale / params->softcap;
    for (uint32_t r = 0; r < m; r++)
        for (uint32_t t = 0; t < n; t++)
            s[r * SKV_CPU_TILE + t] = params->softcap * tanhf(s[r * SKV_CPU_TILE + t] * inner);
}

/* A tile between q.k and p.v: what a chunk sees of it. */
struct scored {
    uint32_t n;
    struct skv_cpu_rows v;
    float corr[SKV_CPU_M_MAX];
};

/* Rows of a tile that is not seen whole. */
struct seen {
    const uint8_t *k[SKV_CPU_TILE], *v[SKV_CPU_TILE];
};

/* Weights of a batch, or in place 0 of one tile and chunk. */
struct scratch {
    _Alignas(64) struct scored scored[BATCH_TILES];
    _Alignas(64) float s[BATCH_TILES * SKV_CPU_M_MAX * SKV_CPU_TILE];
    struct seen seen[BATCH_TILES];
    _Alignas(64) uint16_t rows[2 * SKV_CPU_TILE * SKV_HEAD_DIM_MAX]; /* of an expanded tile */
    const struct skv_cpu_attend *entered; /* the last kernel whose `enter` was called, or NULL */
};

/* The state that a tile goes to, whose kernel may then be called. */
static const struct skv_cpu_state *enter_state(const struct skv_cpu_chunk *chunk, const struct skv_cpu_tile *tile,
                                               struct scratch *scratch)
{
    const struct skv_cpu_state *state = &chunk->state[tile->dense ? SKV_CPU_DENSE : SKV_CPU_RECORDS];
    void (*enter)(void) = state->kernel->enter;
    if (enter && (!scratch->entered || scratch->entered->enter != enter)) {
        enter();
        scratch->entered = state->kernel;
    }
    return state;
}

/* q.k and softmax, to weights in place i; `ahead` is prefetched on the way. */
static void score_tile(const struct skv_cpu_pass *pass, const struct skv_cpu_tile *tile,
                       const struct skv_cpu_chunk *chunk, struct scratch *scratch, uint32_t i,
                       const struct skv_cpu_ahead *ahead)
{
    const struct skv_attend_params *params = pass->params;
    struct scored *scored = &scratch->scored[i];
    struct seen *seen = &scratch->seen[i];
    uint32_t n = scored->n = visible_rows(params, chunk, tile, seen->k, seen->v);
    if (n == 0)
        return;
    const struct skv_cpu_rows k = n == tile->n ? tile->k : (struct skv_cpu_rows){seen->k, NULL, 0};
    scored->v = n == tile->n ? tile->v : (struct skv_cpu_rows){seen->v, NULL, 0};
    const struct skv_cpu_state *state = enter_state(chunk, tile, scratch);
    float scale = params->scale, *s = scratch->s + i * chunk->m * SKV_CPU_TILE;
    state->kernel->qk(&k, n, state->qp, params->head_dim, s, ahead);
    if (params->softcap > 0) {
        cap_scores(params, s, n, chunk->m);
        scale = 1;
    }
    pass->kernels->softmax(s, n, chunk->m, scale, state->mx, state->sum, scored->corr);
}

/* p.v of what score_tile left in place i. */
static void sum_tile(const struct skv_cpu_pass *pass, const struct skv_cpu_tile *tile,
                     const struct skv_cpu_chunk *chunk, struct scratch *scratch, uint32_t i,
                     const struct skv_cpu_ahead *ahead)
{
    const struct scored *scored = &scratch->scored[i];
    if (scored->n == 0)
        return;
    const struct skv_cpu_state *state = enter_state(chunk, tile, scratch);
    state->kernel->pv(&scored->v, scored->n, scratch->s + i * chunk->m * SKV_CPU_TILE, scored->corr,
                      pass->params->head_dim, state->o, ahead);
}

/* What is prefetched of `rows`, of the tile that comes after `before`'s last row. */
static struct skv_cpu_ahead ask_for(const struct skv_cpu_pass *pass, const struct skv_cpu_tile *tile,
                                    const struct skv_cpu_rows *rows, const uint8_t *before, uint32_t m)
{
    return skv_cpu_tile_ahead(pass->params, tile, rows, before, m, pass->math, pass->kernels->habits.streams);
}

static const uint8_t *last_row(const struct skv_cpu_tile *tile, const struct skv_cpu_rows *rows)
{
    return skv_cpu_row(rows, tile->n - 1);
}

/* One tile, through all chunks of its head. */
static void feed_tile(const struct skv_cpu_pass *pass, struct skv_cpu_tile *tile, const struct skv_cpu_tile *next,
                      const uint8_t *v_before, const struct skv_cpu_chunk *its, uint32_t n_chunks,
                      struct scratch *scratch)
{
    const struct skv_cpu_ahead none = {0};
    struct skv_cpu_ahead v = ask_for(pass, tile, &tile->v, v_before, its->m);
    struct skv_cpu_ahead k = ask_for(pass, next, &next->k, last_row(tile, &tile->k), its->m);
    bool expand = !pass->single;
    if (expand)
        skv_cpu_tile_expand(pass->kernels, pass->params->head_dim, scratch->rows, tile);
    for (uint32_t i = 0; i < n_chunks; i++) {
        score_tile(pass, tile, &its[i], scratch, 0, i || expand ? &none : &v);
        sum_tile(pass, tile, &its[i], scratch, 0, i ? &none : &k);
    }
}

/* K of n tiles, then their V. tile[n] comes next; chunk i is head first_head + i's. */
static void feed_batch(const struct skv_cpu_pass *pass, struct skv_cpu_tile *const *tile, uint32_t n,
                       const uint8_t *v_before, const struct skv_cpu_chunk *chunks, uint32_t first_head,
                       struct scratch *scratch)
{
    uint32_t m = chunks[0].m;
    for (uint32_t i = 0; i < n; i++) {
        struct skv_cpu_ahead ahead =
            i + 1 < n ? ask_for(pass, tile[i + 1], &tile[i + 1]->k, last_row(tile[i], &tile[i]->k), m)
                      : ask_for(pass, tile[0], &tile[0]->v, v_before, m);
        score_tile(pass, tile[i], &chunks[tile[i]->i_head - first_head], scratch, i, &ahead);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct skv_cpu_ahead ahead =
            i + 1 < n ? ask_for(pass, tile[i + 1], &tile[i + 1]->v, last_row(tile[i], &tile[i]->v), m)
                      : ask_for(pass, tile[n], &tile[n]->k, last_row(tile[n - 1], &tile[n - 1]->k), m);
        sum_tile(pass, tile[i], &chunks[tile[i]->i_head - first_head], scratch, i, &ahead);
    }
}

void skv_cpu_pass_run(const struct skv_cpu_pass *pass, const struct skv_cpu_walk *tokens,
                      const struct skv_cpu_chunk *chunks, uint32_t n_chunks)
{
    struct skv_cpu_walk walk = *tokens;
    walk.first_head = chunks[0].i_head;
    walk.n_heads = chunks[n_chunks - 1].i_head - walk.first_head + 1;
    uint32_t per_head = n_chunks / walk.n_heads;
    find_gap(chunks, n_chunks, &walk);
    uint32_t at = 0, most[SKV_CPU_SOURCE_COUNT];
    for (int source = 0; source < SKV_CPU_SOURCE_COUNT; source++)
        most[source] = pass->batches[source] ? BATCH_TILES : 1;
    struct skv_cpu_tile tiles[BATCH_TILES + 1], *tile[BATCH_TILES + 1];
    struct scratch scratch;
    const uint8_t *v_before = NULL;
    scratch.entered = NULL;
    skv_cpu_walk_start(&walk);
    skv_cpu_walk_next(&walk, &tiles[0]);
    while (tiles[at].n) {
        uint32_t n = 0, limit = most[tiles[at].dense ? SKV_CPU_DENSE : SKV_CPU_RECORDS];
        tile[0] = &tiles[at];
        do {
            n++;
            /* Two places in turns where there are no batches: more would be more memory. */
            at = at >= limit ? 0 : at + 1;
            tile[n] = &tiles[at];
            skv_cpu_walk_next(&walk, tile[n]);
        } while (n < limit && tile[n]->n && tile[n]->dense == tile[0]->dense);
        const uint8_t *v_last = last_row(tile[n - 1], &tile[n - 1]->v);
        if (n > 1)
            feed_batch(pass, tile, n, v_before, chunks, walk.first_head, &scratch);
        else
            feed_tile(pass, tile[0], tile[1], v_before, chunks + (size_t)(tile[0]->i_head - walk.first_head) * per_head,
                      per_head, &scratch);
        v_before = v_last;
    }
    if (scratch.entered)
        scratch.entered->leave();
}
