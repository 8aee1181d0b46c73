# SPDX-License-Identifier: Apache-2.0
"""Selection, records and attention in numpy, written from core/FORMAT.md."""

import numpy as np

NONE = 0xFFFFFFFF


def n_words(head_dim):
    return (head_dim + 63) // 64


def values(rows, dtype):
    """16-bit units -> binary64; dtype 1 is fp16, 2 is bf16."""
    rows = np.ascontiguousarray(rows)
    if dtype == 2:
        return (rows.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return rows.view(np.float16).astype(np.float64)


def magnitudes(rows):
    return (rows & 0x7FFF).astype(np.uint32)


def weighted(rows, weights, dtype):
    """Section 4.2."""
    magnitude = magnitudes(rows)
    infinity = 0x7F80 if dtype == 2 else 0x7C00
    with np.errstate(invalid="ignore"):
        a = values(magnitude.astype(np.uint16), dtype).astype(np.float32).view(np.uint32)
    b = np.abs(weights.astype(np.float32)).view(np.uint32)
    a, b = (np.where(x < 0x21800000, 0, np.minimum(x, 0x5D800000)).astype(np.uint32) for x in (a, b))
    product = (a.view(np.float32) * b.view(np.float32)).view(np.uint32)
    score = np.where((a == 0) | (b == 0), 0, product)
    score = np.where(magnitude == infinity, 0xFFFFFFFE, score)
    return np.where(magnitude > infinity, 0xFFFFFFFF, score).astype(np.uint32)


def largest(scores, k):
    """[..., n] -> which are the k largest, ties to the lower index."""
    order = np.argsort(-scores.astype(np.int64), axis=-1, kind="stable")
    chosen = np.zeros(scores.shape, bool)
    np.put_along_axis(chosen, order[..., :k], True, -1)
    return chosen


def select(rows, rule):
    """rows [tokens][heads][channels] -> which survive. rule: strategy, k, dtype, and what the strategy needs."""
    n_tokens, n_heads, head_dim = rows.shape
    k, dtype, name = rule.get("k", 0), rule["dtype"], rule["strategy"]
    if name == "token_magnitude":
        chosen = largest(magnitudes(rows), k)
    elif name == "token_weighted":
        chosen = largest(weighted(rows, np.broadcast_to(rule["weights"], rows.shape), dtype), k)
    elif name in ("channel_magnitude", "channel_weighted"):
        scores = magnitudes(rows)
        if name == "channel_weighted":
            scores = weighted(rows, np.broadcast_to(rule["weights"].T[:, :, None], rows.shape), dtype)
        chosen = np.zeros(rows.shape, bool)
        group = rule["group"]
        for first in range(0, n_tokens, group):
            part = scores[first:first + group]
            m = len(part)
            chosen[first:first + m] = np.moveaxis(largest(np.moveaxis(part, 0, -1), -(-k * m // group)), -1, 0)
    elif name == "channels":
        bits = np.abs(rule["weights"].astype(np.float32)).view(np.uint32)
        chosen = np.broadcast_to(largest(bits, k), rows.shape).copy()
    elif name == "threshold":
        chosen = magnitudes(rows) >= rule["threshold_bits"]
    else:
        chosen = rule["mask"].copy()
    chosen[:rule.get("protect", 0)] = True
    if rule.get("cap"):
        ranked = largest(np.where(chosen, magnitudes(rows).astype(np.int64) + 1, 0), rule["cap"])
        over = chosen.sum(-1, keepdims=True) > rule["cap"]
        chosen = np.where(over, ranked & chosen, chosen)
    return chosen


def bitmap(chosen):
    """[..., channels] of bool -> [..., 8 * words] bytes."""
    head_dim = chosen.shape[-1]
    padded = np.zeros((*chosen.shape[:-1], 64 * n_words(head_dim)), bool)
    padded[..., :head_dim] = chosen
    return np.packbits(padded, axis=-1, bitorder="little")


def record(row, chosen):
    return bitmap(chosen).tobytes() + row[chosen].tobytes()


def attend(q, k, v, seen, scale, softcap=0.0, sink=None):
    """One query head: q [channels], k and v [tokens][channels] expanded, seen [tokens] -> out, lse."""
    x = scale * (k[seen] @ q)
    if softcap:
        x = softcap * np.tanh(x / softcap)
    most = max([*x, *([] if sink is None else [sink])], default=-np.inf)
    if most == -np.inf:
        return np.zeros(v.shape[-1]), -np.inf
    weights = np.exp(x - most)
    total = weights.sum() + (0 if sink is None else np.exp(sink - most))
    return weights @ v[seen] / total, most + np.log(total)


def attend_bound(q, k, v, seen, scale, softcap, sink, dtype, out, lse):
    """What binary32 results of one query head may be off by; `out` and `lse` are exact. Like attend() for the rest."""
    u, w = 2.0 ** -24, 2.0 ** (-8 if dtype == 2 else -11)
    size = abs(scale) * (np.abs(k[seen]) @ np.abs(q)).max(initial=0) + softcap
    e = 2 * (len(q) + 16) * u * size + (seen.sum() + 64) * u + w
    of_v = attend(q, k, np.abs(v), seen, scale, softcap, sink)[0]
    out_bound = 2 * e * of_v + u * np.abs(out) + 2.0 ** -100 * (1 + np.abs(v).max(initial=0))
    return out_bound, e + 4 * u * (0 if np.isinf(lse) else abs(lse)) + u
