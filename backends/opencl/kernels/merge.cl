/* SPDX-License-Identifier: Apache-2.0
 *
 * Partial results -> results, by their log-sum-exps. A work-group merges one query row.
 */
#ifdef SKV_ROWS

inline ulong merged_element(const struct skv_cl_merge *p, ulong row)
{
    ulong per_seq = (ulong)p->n_new * p->n_q_heads, in_seq = row % per_seq;
    return p->out + row / per_seq * p->out_seq_stride + in_seq / p->n_q_heads * p->out_token_stride +
           in_seq % p->n_q_heads * p->out_head_stride;
}

__kernel void skv_merge(const struct skv_cl_merge p, const __global float *part_out, const __global float *part_lse,
                        const __global float *sinks, __global uchar *out, __global float *lse)
{
    const struct skv_cl_merge params = p;
    ulong row = get_group_id(0) + get_group_id(1) * get_num_groups(0);
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
    for (uint c = get_local_id(0); c < p.head_dim; c += get_local_size(0)) {
        float sum = 0;
        for (ulong i = 0; i < p.n_parts; i++) {
            float part = part_lse[p.part_lse + i * p.n_rows + row];
            if (part != -INFINITY)
                sum += exp(part - most) * part_out[p.part_out + (i * p.n_rows + row) * p.head_dim + c];
        }
        store_element(out, element + c, p.out_dtype, total != 0 ? sum / total : 0);
    }
    if (get_local_id(0) == 0 && p.has_lse)
        lse[p.lse + row] = total != 0 ? most + log(total) : -INFINITY;
}

#endif
