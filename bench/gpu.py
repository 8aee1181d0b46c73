#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Attention and compression on a GPU, beside the best dense attention that PyTorch has on it, in one process.

For each shape: random rows are compressed by libskv, its results are checked against binary32 attention over the
decompressed rows, and then all contenders are timed in turns: skv at each number of kept channels, cuDNN and
FlashAttention through scaled_dot_product_attention, and a read of the compressed bytes. Buffers come in sets that
together exceed the caches. Needs torch with a GPU; libskv is found as python/skv.py says."""
import argparse
import json
import math
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python"))
import skv  # noqa: E402

try:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention
except ImportError as error:
    sys.exit(f"bench/gpu.py: PyTorch is needed: {error}")

# Sequences, query heads, KV heads, tokens, head_dim.
SHAPES = {
    "main": [(32, 32, 8, 8192, 128), (8, 32, 8, 16384, 128), (8, 32, 8, 32768, 128), (1, 32, 8, 131072, 128),
             (16, 32, 32, 8192, 128), (8, 32, 32, 4096, 128)],
    "groups": [(8, 8 * g, 8, 16384, 128) for g in (1, 2, 4, 8, 16)],
    "dims": [(8, 8 * g, 8, 16384, 64) for g in (1, 4, 8, 16)] + [(8, 8 * g, 8, 16384, 256) for g in (1, 2, 4, 8)],
    "small": [(b, 32, 8, t, 128) for b in (1, 8, 32) for t in (512, 2048, 8192, 32768)],
}


class Cache:
    """A set of compressed K and V, and the rows that they hold."""

    def __init__(self, on, shape, dtype, kept, page, tail):
        b, _, h, t, d = shape
        lib, self.on, self.shape, self.kept = on.lib, on, shape, kept
        stride = lib.stride_for_banks(d, kept)
        self.layout = lib.layout(dtype=on.skv_dtype(dtype), form=skv.FIXED, head_dim=d, n_kv_heads=h, kept=kept,
                                 page_tokens=page, row_stride=stride)
        n_blocks = (t + page - 1) // page * b
        order = torch.arange(n_blocks, device="cuda", dtype=torch.int32)
        if not on.in_order:
            order = order[torch.randperm(n_blocks, device="cuda")]
        self.blocks = order.reshape(b, -1).contiguous()
        n_bytes = lib.pool_bytes(self.layout, n_blocks)
        self.pages = [torch.full((n_bytes + 256,), 0xff, dtype=torch.uint8, device="cuda") for _ in range(2)]
        self.pools = [skv.Pool(self.layout, on.span(x), n_blocks) for x in self.pages]
        self.read_bytes = 2 * b * h * t * stride
        token = torch.arange(t, device="cuda")
        slots = self.blocks[:, token // page].to(torch.int64) * page + token % page
        self.slots = slots.reshape(-1).contiguous()
        self.tail = [torch.randn(b, tail, h, d, dtype=dtype, device="cuda") for _ in range(2)] if tail else None

    def compress(self, which, rows):
        """rows: [b * t, h, d]"""
        params = skv.CompressParams(n_tokens=rows.shape[0], rows=skv.Rows(self.on.span(rows), 0, 0),
                                    pool=self.pools[which], slot_mapping=self.on.span(self.slots))
        self.on.lib.call("compress", self.on.queue, skv.c.byref(params))

    def decompress(self, which, out=None):
        b, _, h, t, d = self.shape
        out = torch.empty(b * t, h, d, dtype=self.on.dtype, device="cuda") if out is None else out
        params = skv.DecompressParams(n_tokens=b * t, pool=self.pools[which], slot_mapping=self.on.span(self.slots),
                                      out=skv.Rows(self.on.span(out), 0, 0))
        self.on.lib.call("decompress", self.on.queue, skv.c.byref(params))
        return out.reshape(b, t, h, d)


class Machine:
    def __init__(self, device):
        self.lib, self.spans = skv.Library(), {}
        torch.zeros(1, device="cuda")
        self.stream = torch.cuda.Stream()
        torch.cuda.set_stream(self.stream)
        self.device = self.lib.device(device)
        self.queue = self.lib.queue(self.device, self.stream.cuda_stream)
        self.dtype, self.in_order, self.lengths = torch.float16, False, False

    def skv_dtype(self, dtype):
        self.dtype = dtype
        return skv.F16 if dtype == torch.float16 else skv.BF16

    def span(self, tensor):
        key = (tensor.data_ptr(), tensor.numel() * tensor.element_size())
        if key not in self.spans:
            self.spans[key] = self.lib.wrap(self.device, *key)
        return self.spans[key]

    def finish(self):
        self.lib.call("queue_finish", self.queue)


def attend_params(on, cache, q, out):
    b, hq, h, t, d = cache.shape
    params = skv.AttendParams(n_seqs=b, n_new=1, n_q_heads=hq, n_kv_heads=h, head_dim=d,
                              dtype=on.skv_dtype(on.dtype), q=on.span(q), out=on.span(out), k_pool=cache.pools[0],
                              v_pool=cache.pools[1], k_blocks=on.span(cache.blocks),
                              block_stride=cache.blocks.shape[1], max_cache_tokens=t)
    if cache.tail:
        params.k_tail, params.v_tail = on.span(cache.tail[0]), on.span(cache.tail[1])
        params.max_tail_tokens = cache.tail[0].shape[1]
    if on.lengths:
        cache.lengths = torch.full((b,), t, dtype=torch.int32, device="cuda")
        params.cache_lens = on.span(cache.lengths)
    n_bytes = on.lib.attend_workspace(on.device, params)
    cache.workspace = torch.empty(max(n_bytes, 1), dtype=torch.uint8, device="cuda")
    params.workspace = on.span(cache.workspace)
    return params


def check(on, cache, q, out):
    """The largest error of some heads' results, relative to the root mean square of the right ones."""
    b, hq, h, t, d = cache.shape
    k, v = cache.decompress(0), cache.decompress(1)
    on.finish()
    if cache.tail:
        k, v = torch.cat([k, cache.tail[0]], 1), torch.cat([v, cache.tail[1]], 1)
    worst = 0.0
    for i in sorted({0, b - 1}):
        for head in sorted({0, h - 1}):
            query = q[i, head * (hq // h):(head + 1) * (hq // h)].double()
            weights = torch.softmax(query @ k[i, :, head].double().T / math.sqrt(d), -1)
            right = weights @ v[i, :, head].double()
            got = out[i, head * (hq // h):(head + 1) * (hq // h)].double()
            worst = max(worst, ((got - right).square().mean() / right.square().mean()).sqrt().item())
    return worst


def milliseconds(run, n):
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for i in range(n):
        run(i)
    stop.record()
    torch.cuda.synchronize()
    return start.elapsed_time(stop) / n


def captured(run, n):
    """The same n calls as one graph."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        for i in range(n):
            run(i)
    return graph


def in_turns(contenders, rounds, in_graphs=False):
    """Median milliseconds of each, or the reason why there are none."""
    times, reasons = {name: [] for name in contenders}, {}
    calls = {}
    for name, run in contenders.items():
        try:
            for i in range(3):
                run(i)
            torch.cuda.synchronize()
            calls[name] = max(10, min(400, int(3 / max(milliseconds(run, 5), 1e-3))))
            if in_graphs:
                graph, n = captured(run, 20), 20
                contenders[name] = lambda i, graph=graph: graph.replay() if i % 20 == 0 else None
                calls[name] = n * 5
        except (RuntimeError, skv.Error) as error:
            reasons[name] = str(error).splitlines()[0][:200]
    # Clocks follow the work before: nobody always comes after the same.
    names, chance = list(calls), random.Random(1)
    for _ in range(rounds):
        chance.shuffle(names)
        for name in names:
            times[name].append(milliseconds(contenders[name], calls[name]))
    return {name: sorted(times[name])[rounds // 2] for name in calls}, reasons


def dense_run(backend, q, k, v, gqa):
    def run(i):
        with sdpa_kernel(backend):
            scaled_dot_product_attention(q, k[i % len(k)], v[i % len(v)], enable_gqa=gqa)
    return run


def attend(on, shape, args):
    b, hq, h, t, d = shape
    dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float16
    on.dtype = dtype
    n_sets = max(2, math.ceil(150e6 / (2 * b * h * t * d)))
    n_sets = min(n_sets, 8)
    rows = [[torch.randn(b * t, h, d, dtype=dtype, device="cuda") for _ in range(2)] for _ in range(n_sets)]
    q = torch.randn(b, hq, d, dtype=dtype, device="cuda")
    result = {"op": "attend", "shape": shape, "dtype": args.dtype, "kept": {}}
    contenders, dense = {}, {}
    held = []
    for kept in args.kept:
        kept = kept * d // 128
        sets = [Cache(on, shape, dtype, kept, args.page, args.tail) for _ in range(n_sets)]
        outs, params = [], []
        # Calls go on writing to them while others are timed.
        held.append((sets, outs))
        for cache, pair in zip(sets, rows):
            for which in range(2):
                cache.compress(which, pair[which])
            outs.append(torch.full((b, hq, d), math.nan, dtype=dtype, device="cuda"))
            params.append(attend_params(on, cache, q, outs[-1]))

        def run(i, params=params):
            on.lib.call("attend", on.queue, skv.c.byref(params[i % n_sets]))
        run(0)
        on.finish()
        error = check(on, sets[0], q, outs[0])
        result["kept"][kept] = {"relative_error": error, "kernel": on.lib.last_kernel(on.queue),
                                "bytes": sets[0].read_bytes}
        run(0)
        result["kept"][kept]["kernel"] = on.lib.last_kernel(on.queue)
        contenders[kept] = run
        sums = [[x[:x.numel() // 1024 * 1024].view(torch.int64) for x in cache.pages] for cache in sets]
        if args.read:
            contenders[f"read {kept}"] = lambda i, sums=sums: [torch.sum(x) for x in sums[i % n_sets]]
    if not args.no_dense:
        k = [pair[0].reshape(b, t, h, d).transpose(1, 2).contiguous() for pair in rows]
        v = [pair[1].reshape(b, t, h, d).transpose(1, 2).contiguous() for pair in rows]
        del rows
        for name, backend in (("cudnn", SDPBackend.CUDNN_ATTENTION), ("flash", SDPBackend.FLASH_ATTENTION)):
            contenders[name] = dense[name] = dense_run(backend, q.unsqueeze(2), k, v, hq != h)
    times, reasons = in_turns(contenders, args.rounds, args.graph)
    on.finish()
    best = min((times[name] for name in dense if name in times), default=None)
    result.update(milliseconds={str(n): x for n, x in times.items()}, reasons=reasons)
    text = " ".join(f"{name} {times[name] * 1e3:.1f} us" for name in dense if name in times)
    print(f"attend {b}/{hq}/{h}/{t} d{d} {args.dtype} tail {args.tail}: {text or 'no dense ' + str(reasons)}")
    for kept, entry in result["kept"].items():
        entry["gigabytes_per_second"] = entry["bytes"] / times[kept] / 1e6
        entry["over_dense"] = best / times[kept] if best else None
        print(f"  k={kept}: {times[kept] * 1e3:.1f} us, {best / times[kept] if best else 0:.2f}x dense, "
              f"{entry['gigabytes_per_second']:.0f} GB/s"
              + (f", {times['read %d' % kept] / times[kept]:.2f} of read" if f"read {kept}" in times else "")
              + f", error {entry['relative_error']:.1e}, {entry['kernel']}", flush=True)
    return result


def compress(on, n_rows, d, kept, args):
    dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float16
    on.dtype = dtype
    h, page = 8, args.page
    shape = (1, 8, h, n_rows // h, d)
    kept = kept * d // 128
    cache = Cache(on, shape, dtype, kept, page, 0)
    rows = torch.randn(n_rows // h, h, d, dtype=dtype, device="cuda")
    target = torch.empty_like(rows)
    few = skv.CompressParams(n_tokens=32, rows=skv.Rows(on.span(rows), 0, 0), pool=cache.pools[0],
                             slot_mapping=on.span(cache.slots))

    def copy(_):
        target.copy_(rows)
    contenders = {"compress": lambda i: cache.compress(0, rows), "copy": copy,
                  "append": lambda i: on.lib.call("compress", on.queue, skv.c.byref(few)),
                  "decompress": lambda i: cache.decompress(0, target)}
    times, reasons = in_turns(contenders, args.rounds)
    n_bytes = n_rows * d * 2 + cache.read_bytes // 2
    rate, copy_rate = n_bytes / times["compress"] / 1e6, 2 * n_rows * d * 2 / times["copy"] / 1e6
    back_rate = n_bytes / times["decompress"] / 1e6
    print(f"compress {n_rows} rows d{d} k={kept} {args.dtype}: {rate:.0f} GB/s, {rate / copy_rate:.2f} of copy "
          f"({copy_rate:.0f} GB/s); append of 32 tokens x {h} heads {times['append'] * 1e3:.1f} us; "
          f"decompress {back_rate:.0f} GB/s, {back_rate / copy_rate:.2f} of copy", flush=True)
    return {"op": "compress", "rows": n_rows, "head_dim": d, "kept": kept, "dtype": args.dtype, "milliseconds": times,
            "gigabytes_per_second": rate,
            "decompress_gigabytes_per_second": back_rate, "copy_gigabytes_per_second": copy_rate, "reasons": reasons}


def capture(on, args):
    """A captured attend replays to the same bits, with other queries too."""
    shape, on.dtype = (4, 32, 8, 4096, 128), torch.float16
    b, hq, h, t, d = shape
    cache = Cache(on, shape, on.dtype, 40, args.page, 8)
    for which in range(2):
        cache.compress(which, torch.randn(b * t, h, d, dtype=on.dtype, device="cuda"))
    q = torch.randn(b, hq, d, dtype=on.dtype, device="cuda")
    out = torch.empty(b, hq, d, dtype=on.dtype, device="cuda")
    params = attend_params(on, cache, q, out)

    def run():
        on.lib.call("attend", on.queue, skv.c.byref(params))
    run()
    on.finish()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=on.stream):
        run()
    for seed in range(3):
        q.copy_(torch.randn(b, hq, d, dtype=on.dtype, device="cuda"))
        run()
        on.finish()
        right = out.clone()
        out.fill_(math.nan)
        graph.replay()
        torch.cuda.synchronize()
        if not torch.equal(right, out):
            raise SystemExit(f"bench/gpu.py: replay {seed} of a captured attend differs")
    print("capture: a captured attend replayed 3 times to the same bits", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--set", default="main", help="of shapes: " + ", ".join(SHAPES) + "; several with commas")
    parser.add_argument("--kept", default="40,64", help="per 128 channels")
    parser.add_argument("--dtype", default="f16", choices=["f16", "bf16"])
    parser.add_argument("--page", type=int, default=64)
    parser.add_argument("--tail", type=int, default=0)
    parser.add_argument("--lengths", action="store_true", help="lengths are read on the GPU, not known beforehand")
    parser.add_argument("--in-order", action="store_true", help="blocks in the order of tokens, not shuffled")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--read", action="store_true", help="time a read of the compressed bytes, too")
    parser.add_argument("--graph", action="store_true", help="time captured calls: no host time between launches")
    parser.add_argument("--no-dense", action="store_true")
    parser.add_argument("--compress", action="store_true")
    parser.add_argument("--json")
    args = parser.parse_args()
    args.kept = [int(x) for x in args.kept.split(",")]
    if not torch.cuda.is_available():
        sys.exit("bench/gpu.py: PyTorch finds no GPU")
    on = Machine(args.device)
    on.in_order, on.lengths = args.in_order, args.lengths
    results = []
    for name in [x for x in args.set.split(",") if x]:
        for shape in SHAPES[name]:
            results.append(attend(on, shape, args))
            on.spans.clear()
            torch.cuda.empty_cache()
    if args.compress:
        capture(on, args)
        for kept in args.kept:
            results.append(compress(on, 1 << 20, 128, kept, args))
            torch.cuda.empty_cache()
    if args.json:
        words = [pathlib.Path(x).name if x == args.json else x for x in sys.argv[1:]]
        about = {"command": " ".join(["python3", "bench/gpu.py", *words]), "gpu": torch.cuda.get_device_name(),
                 "torch": torch.__version__}
        pathlib.Path(args.json).write_text(json.dumps({**about, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
