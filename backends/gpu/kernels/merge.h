/* SPDX-License-Identifier: Apache-2.0
 *
 * Partial results -> results, by their log-sum-exps. A group merges one query row.
 */
#ifdef SKV_ROWS

DEVICE ulong merged_element(const struct skv_gpu_merge *p, ulong row)
{
    ulong per_seq = (ulong)p->n_new * p->n_q_heads, in_seq = row % per_seq;
    return p->out + row / per_seq * p->out_seq_stride + in_seq / p->n_q_heads * p->out_token_stride +
           in_seq % p->n_q_heads * p->out_head_stride;
}

KERNEL(skv_kernel_merge, SKV_GPU_ROW_LANES)
(const struct skv_gpu_merge p, const GLOBAL float *part_out, const GLOBAL float *part_lse, const GLOBAL float *sinks,
 GLOBAL uchar *out, GLOBAL float *lse)
{
    const struct skv_gpu_merge params = p;
    ulong row = group_x() + group_y() * groups_x();
    if (row >= p.n_rows)
        return;
    float sink = p.has_sinks ? sinks[p.sinks + row % p.n_q_heads] : -INFINITY, most = sink, total;
    for (ulong i = 0; i < p.n_parts; i++) {
        float part = part_lse[p.part_lse + i * p.n_rows + row];
        most = part > most || isnan(part) ? part : most;
    }
    total = sink == -INFINITY ? 0 : exp(sink - most);
    for (ulong i = 0; i < p.n_parts; i++) {
        float part = part_lse[p.part_lse + i * p.n_rows + row];
        total += part == -INFINITY ? 0 : exp(part - most);
    }
    ulong element = merged_element(&params, row);
    for (uint c = local_id(); c < p.head_dim; c += local_size()) {
        float sum = 0;
        for (ulong i = 0; i < p.n_parts; i++) {
            float part = part_lse[p.part_lse + i * p.n_rows + row];
            if (part != -INFINITY)
                sum += exp(part - most) * part_out[p.part_out + (i * p.n_rows + row) * p.head_dim + c];
        }
        store_element(out, element + c, p.out_dtype, total != 0 ? sum / total : 0);
    }
    if (local_id() == 0 && p.has_lse)
        lse[p.lse + row] = total != 0 ? most + log(total) : -INFINITY;
}

#endif
