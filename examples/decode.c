/* SPDX-License-Identifier: Apache-2.0
 *
 * One layer of a decoder: compress a prompt's keys and values, then decode a few tokens. The newest tokens stay dense
 * in a tail; when the tail holds a page, it is compressed and starts again.
 */
#include <skv/skv.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { HEAD_DIM = 64, KV_HEADS = 2, Q_HEADS = 8, PROMPT = 256, NEW_TOKENS = 100, PAGE = 64, BLOCKS = 16 };
enum { TOKEN_VALUES = KV_HEADS * HEAD_DIM };

static void check(skv_status status)
{
    if (status != SKV_OK) {
        fprintf(stderr, "%s: %s\n", skv_status_name(status), skv_error_message());
        exit(1);
    }
}

static skv_buffer *make_buffer(skv_device *device, uint64_t bytes)
{
    skv_buffer_params params = {.struct_size = sizeof params, .bytes = bytes};
    skv_buffer *buffer;
    check(skv_buffer_create(device, &params, &buffer));
    return buffer;
}

/* Stands in for the model: n fp16 values between -1 and 1. */
static void make_values(uint16_t *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        values[i] = (uint16_t)(((unsigned)rand() & 1u) << 15 | (0x2c00u + (unsigned)rand() % 0x1000u));
}

/* Prunes n_tokens dense rows and packs them into the slots from first_slot on. */
static void compress(skv_queue *queue, skv_pool pool, skv_buffer *rows, uint64_t n_tokens, uint64_t first_slot)
{
    skv_compress_params params = {.struct_size = sizeof params,
                                  .n_tokens = n_tokens,
                                  .in = {{rows, 0}, 0, 0},
                                  .pool = pool,
                                  .first_slot = first_slot};
    check(skv_compress(queue, &params));
}

int main(void)
{
    skv_device *device;
    skv_queue *queue;
    check(skv_device_open(NULL, &device));
    check(skv_queue_create(device, NULL, &queue));

    /* 70 % of the channels go: 20 of 64 stay, in records of 48 bytes instead of 128. */
    uint32_t kept;
    uint64_t pool_bytes;
    skv_layout *layout;
    check(skv_kept_for_sparsity(HEAD_DIM, 0.7, 4, &kept));
    skv_layout_params layout_params = {
        .struct_size = sizeof layout_params, .head_dim = HEAD_DIM, .n_kv_heads = KV_HEADS, .kept = kept};
    check(skv_layout_create(&layout_params, &layout));
    check(skv_layout_pool_bytes(layout, BLOCKS, &pool_bytes));
    skv_pool k_pool = {layout, {make_buffer(device, pool_bytes), 0}, BLOCKS};
    skv_pool v_pool = {layout, {make_buffer(device, pool_bytes), 0}, BLOCKS};
    int32_t blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = i;
    skv_buffer *table = make_buffer(device, sizeof blocks);
    check(skv_buffer_write(queue, (skv_span){table, 0}, blocks, sizeof blocks));

    /* Prefill. */
    static uint16_t values[PROMPT * TOKEN_VALUES];
    skv_buffer *rows = make_buffer(device, sizeof values);
    for (int i = 0; i < 2; i++) {
        make_values(values, PROMPT * TOKEN_VALUES);
        check(skv_buffer_write(queue, (skv_span){rows, 0}, values, sizeof values));
        compress(queue, i ? v_pool : k_pool, rows, PROMPT, 0);
    }

    /* Decode. */
    const uint64_t token_bytes = TOKEN_VALUES * 2, q_bytes = Q_HEADS * HEAD_DIM * 2;
    uint16_t out[Q_HEADS * HEAD_DIM];
    skv_attend_params attend = {.struct_size = sizeof attend,
                                .n_seqs = 1,
                                .n_new = 1,
                                .n_q_heads = Q_HEADS,
                                .n_kv_heads = KV_HEADS,
                                .head_dim = HEAD_DIM,
                                .q = {make_buffer(device, q_bytes), 0},
                                .out = {make_buffer(device, q_bytes), 0},
                                .k_pool = k_pool,
                                .v_pool = v_pool,
                                .k_blocks = {table, 0},
                                .max_cache_tokens = PROMPT,
                                .k_tail = {make_buffer(device, PAGE * token_bytes), 0},
                                .v_tail = {make_buffer(device, PAGE * token_bytes), 0}};
    for (int i = 0; i < NEW_TOKENS; i++) {
        uint64_t at = attend.max_tail_tokens * token_bytes, workspace_bytes;
        make_values(values, TOKEN_VALUES);
        check(skv_buffer_write(queue, (skv_span){attend.k_tail.buffer, at}, values, token_bytes));
        make_values(values, TOKEN_VALUES);
        check(skv_buffer_write(queue, (skv_span){attend.v_tail.buffer, at}, values, token_bytes));
        make_values(values, Q_HEADS * HEAD_DIM);
        check(skv_buffer_write(queue, attend.q, values, q_bytes));
        attend.max_tail_tokens++;

        check(skv_attend_workspace(device, &attend, &workspace_bytes));
        if (skv_buffer_bytes(attend.workspace.buffer) < workspace_bytes) {
            skv_buffer_destroy(attend.workspace.buffer);
            attend.workspace.buffer = make_buffer(device, workspace_bytes);
        }
        check(skv_attend(queue, &attend));
        if (attend.max_tail_tokens == PAGE) {
            compress(queue, k_pool, attend.k_tail.buffer, PAGE, attend.max_cache_tokens);
            compress(queue, v_pool, attend.v_tail.buffer, PAGE, attend.max_cache_tokens);
            attend.max_cache_tokens += PAGE;
            attend.max_tail_tokens = 0;
        }
    }
    check(skv_buffer_read(queue, out, attend.out, sizeof out));
    printf("%d tokens attended on %s: %llu compressed, %llu dense\n", PROMPT + NEW_TOKENS, skv_queue_last_kernel(queue),
           (unsigned long long)attend.max_cache_tokens, (unsigned long long)attend.max_tail_tokens);

    skv_buffer *const buffers[] = {k_pool.pages.buffer,
                                   v_pool.pages.buffer,
                                   table,
                                   rows,
                                   attend.q.buffer,
                                   attend.out.buffer,
                                   attend.k_tail.buffer,
                                   attend.v_tail.buffer,
                                   attend.workspace.buffer};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        skv_buffer_destroy(buffers[i]);
    skv_layout_destroy(layout);
    skv_queue_destroy(queue);
    skv_device_release(device);
    return 0;
}
