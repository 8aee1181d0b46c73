/* SPDX-License-Identifier: Apache-2.0
 *
 * FORMAT.md sections 8 and 9: attention of one query row, and how far a backend may be from it.
 */
#include "tests/reference/reference.h"

#include <math.h>
#include <stdlib.h>

/* ---- section 8; which positions are visible is in ops.h, at skv_attend_params */

int ref_visible(const struct ref_query *query, uint64_t i_position)
{
    int64_t j = (int64_t)i_position;
    if (query->position < 0 || j > query->position || i_position >= query->n_tokens)
        return 0;
    if (query->window == 0 || query->window > (uint64_t)query->position)
        return 1;
    return j > query->position - (int64_t)query->window || i_position < query->sink_tokens;
}

static double score(const struct ref_query *query, uint64_t j)
{
    const double *k = query->k + j * query->stride;
    double dot = 0;
    for (unsigned c = 0; c < query->d; c++)
        dot += query->q[c] * k[c];
    double x = query->scale * dot;
    return query->softcap > 0 ? query->softcap * tanh(x / query->softcap) : x;
}

/* The sum of magnitudes behind a score. */
static double score_magnitude(const struct ref_query *query, uint64_t j)
{
    const double *k = query->k + j * query->stride;
    double sum = 0;
    for (unsigned c = 0; c < query->d; c++)
        sum += fabs(query->q[c]) * fabs(k[c]);
    return fabs(query->scale) * sum + query->softcap;
}

/* ---- section 9 */

static const double unit = 0x1p-24;

static double weight_rounding(unsigned type)
{
    return type == SKV_F16 ? 0x1p-11 : 0x1p-8;
}

static double result_rounding(unsigned type, double exact)
{
    switch (type) {
    case SKV_F16:
        /* Half the distance of fp16 subnormals is the least that rounding to nearest may cost. */
        return fmax(0x1p-11 * fabs(exact), 0x1p-25);
    case SKV_BF16:
        return 0x1p-8 * fabs(exact);
    default:
        return 0x1p-24 * fabs(exact);
    }
}

/* From result->e, ->out and ->lse: the bounds. spread [d] is V_c, most [d] is max |v_jc|. */
static void fill_bounds(unsigned d, unsigned out_type, const double *spread, const double *most,
                        struct ref_result *result)
{
    for (unsigned c = 0; c < d; c++)
        result->out_bound[c] =
            2 * result->e * spread[c] + result_rounding(out_type, result->out[c]) + 0x1p-100 * (1 + most[c]);
    result->lse_bound = result->e + 4 * unit * fabs(result->lse) + 0x1p-24;
}

void ref_attend(const struct ref_query *query, struct ref_result *result)
{
    unsigned d = query->d;
    double spread[REF_HEAD_DIM_MAX] = {0}, most[REF_HEAD_DIM_MAX] = {0};
    double m = query->sink ? (double)*query->sink : -INFINITY, a = 0;
    double *x = malloc((query->n_tokens + 1) * sizeof *x);
    if (!x)
        abort();

    result->n_visible = 0;
    for (uint64_t j = 0; j < query->n_tokens; j++) {
        x[j] = -INFINITY;
        if (!ref_visible(query, j))
            continue;
        result->n_visible++;
        x[j] = score(query, j);
        /* A score of -inf weighs exactly 0 however it was summed. */
        if (x[j] == -INFINITY)
            continue;
        /* fmax passes over NaN; exp(NaN - m) brings it back, as does exp(inf - inf). */
        m = fmax(m, x[j]);
        a = fmax(a, score_magnitude(query, j));
    }

    double z = query->sink && *query->sink != -INFINITY ? exp(*query->sink - m) : 0;
    for (unsigned c = 0; c < d; c++)
        result->out[c] = 0;
    for (uint64_t j = 0; j < query->n_tokens; j++) {
        if (!ref_visible(query, j))
            continue;
        double p = x[j] == -INFINITY ? 0 : exp(x[j] - m);
        const double *v = query->v + j * query->stride;
        z += p;
        for (unsigned c = 0; c < d; c++) {
            result->out[c] += p * v[c];
            spread[c] += p * fabs(v[c]);
            most[c] = fmax(most[c], fabs(v[c]));
        }
    }
    for (unsigned c = 0; c < d; c++) {
        /* Where nothing weighs anything there is nothing to divide. A product of a weight of 0 with an infinite or NaN
         * value stays NaN. */
        result->out[c] = z == 0 ? result->out[c] : result->out[c] / z;
        spread[c] = z == 0 ? 0 : spread[c] / z;
    }
    result->lse = z == 0 ? -INFINITY : m + log(z);
    free(x);

    result->e = 2 * (d + 16.0) * unit * a + ((double)result->n_visible + 64) * unit + weight_rounding(query->type);
    fill_bounds(d, query->out_type, spread, most, result);
}

/* ---- merging, as skv_merge_params defines it */

void ref_merge(unsigned d, unsigned out_type, uint64_t n_parts, const float *part_out, uint64_t part_stride,
               const float *part_lse, uint64_t lse_stride, struct ref_result *result)
{
    double spread[REF_HEAD_DIM_MAX] = {0}, most[REF_HEAD_DIM_MAX] = {0}, m = -INFINITY, z = 0;
    for (uint64_t p = 0; p < n_parts; p++)
        m = fmax(m, part_lse[p * lse_stride]);
    for (unsigned c = 0; c < d; c++)
        result->out[c] = 0;
    result->n_visible = 0;
    for (uint64_t p = 0; p < n_parts; p++) {
        if (part_lse[p * lse_stride] == -INFINITY)
            continue;
        double w = exp(part_lse[p * lse_stride] - m);
        result->n_visible++;
        z += w;
        for (unsigned c = 0; c < d; c++) {
            double part = part_out[p * part_stride + c];
            result->out[c] += w * part;
            spread[c] += w * fabs(part);
            most[c] = fmax(most[c], fabs(part));
        }
    }
    for (unsigned c = 0; c < d && z != 0; c++) {
        result->out[c] /= z;
        spread[c] /= z;
    }
    result->lse = z == 0 ? -INFINITY : m + log(z);
    result->e = ((double)n_parts + 64) * unit;
    fill_bounds(d, out_type, spread, most, result);
}
