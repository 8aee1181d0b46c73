# SPDX-License-Identifier: Apache-2.0
"""Dense decode attention, a read and a copy in PyTorch, as things that bench/peers.py can sample."""

import time

from cases import Refused, Shape

BACKENDS = {"cuDNN": "CUDNN_ATTENTION", "FlashAttention": "FLASH_ATTENTION", "efficient": "EFFICIENT_ATTENTION",
            "math": "MATH"}
# A sample lasts at least this long, and a graph holds at most so many launches.
LEAST_NS = 2e6
LAUNCHES_MAX = 128
STREAM_BYTES = 1 << 30


def import_torch():
    try:
        import torch
    except ImportError as error:
        raise Refused(f"PyTorch is needed, and cannot be imported ({error}); nothing was measured") from error
    return torch


class Buffers:
    """Queries, and keys and values that lie behind each other in one piece of memory."""

    def __init__(self, torch, shape: Shape, dtype, device: str):
        b, h, t, d = shape.n_seqs, shape.n_kv_heads, shape.n_tokens, shape.head_dim
        n = b * h * t * d
        self.flat = torch.empty(2 * n, dtype=dtype, device=device).normal_()
        self.k, self.v = (part.view(b, h, t, d) for part in (self.flat[:n], self.flat[n:]))
        self.q = torch.empty(b, shape.n_q_heads, 1, d, dtype=dtype, device=device).normal_()


def attention(torch, backend: str, form: str, shape: Shape):
    """A function of buffers, whose output has a row for each query head, however it is shaped."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    kind = getattr(SDPBackend, BACKENDS[backend])
    sdpa = torch.nn.functional.scaled_dot_product_attention
    group = shape.n_q_heads // shape.n_kv_heads

    def run(buffers: Buffers):
        with sdpa_kernel(kind):
            if form == "enable_gqa":
                return sdpa(buffers.q, buffers.k, buffers.v, enable_gqa=True)
            if form == "group as rows":
                # One new token masks nothing, so the queries that share keys may as well be its rows.
                rows = buffers.q.view(shape.n_seqs, shape.n_kv_heads, group, shape.head_dim)
                return sdpa(rows, buffers.k, buffers.v)
            return sdpa(buffers.q, buffers.k, buffers.v)

    return run


def forms(shape: Shape) -> list[str]:
    return [""] if shape.n_q_heads == shape.n_kv_heads else ["enable_gqa", "group as rows"]


def relative_error(torch, shape: Shape, buffers: Buffers, out) -> float:
    """Of the last KV head of the last sequence, against double precision."""
    group = shape.n_q_heads // shape.n_kv_heads
    q, k, v = buffers.q[-1, -group:, 0].double(), buffers.k[-1, -1].double(), buffers.v[-1, -1].double()
    exact = torch.softmax(q @ k.T / shape.head_dim ** 0.5, -1) @ v
    heads = out.reshape(shape.n_seqs, shape.n_q_heads, 1, shape.head_dim)
    return float((heads[-1, -group:, 0].double() - exact).norm() / exact.norm())


class CpuSampler:
    """The mean of some launches, by the host's clock."""

    clock = "host"

    def __init__(self, run, sets: list):
        self.run, self.sets, self.turn = run, sets, 0
        run(sets[0])
        self.launches = 1
        self.launches = max(1, min(LAUNCHES_MAX, int(1e5 / max(self.sample(), 1))))

    def sample(self) -> float:
        start = time.perf_counter_ns()
        for _ in range(self.launches):
            self.run(self.sets[self.turn % len(self.sets)])
            self.turn += 1
        return (time.perf_counter_ns() - start) / self.launches


class GpuSampler:
    """The mean of launches that follow each other without a gap: a CUDA graph of them where one can be captured,
    otherwise launches that are enqueued while the device is kept busy."""

    clock = "device"

    def __init__(self, torch, run, sets: list):
        self.torch, self.run, self.sets = torch, run, sets
        self.graph, self.launches = None, len(sets)
        self.events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        self.launch_all()
        torch.cuda.synchronize()
        once = max(self.sample(), 1.0)
        rounds = max(1, min(LAUNCHES_MAX // len(sets), int(LEAST_NS / (once * len(sets))) + 1))
        self.launches = len(sets) * rounds
        self.capture()
        self.sample()

    def launch_all(self) -> None:
        for i in range(self.launches):
            self.run(self.sets[i % len(self.sets)])

    def capture(self) -> None:
        torch = self.torch
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self.launch_all()
        except RuntimeError:
            torch.cuda.synchronize()
            return
        self.graph = graph

    def sample(self) -> float:
        start, end = self.events
        if self.graph:
            # The first replay uploads the graph; the second is what is timed.
            self.graph.replay()
            start.record()
            self.graph.replay()
        else:
            self.torch.cuda._sleep(20_000_000)
            start.record()
            self.launch_all()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) * 1e6 / self.launches


class TorchEngine:
    """A device of PyTorch."""

    def __init__(self, device: str):
        self.torch = torch = import_torch()
        self.device, self.gpu = device, device != "cpu"
        self.version = f"torch {torch.__version__}"
        if self.gpu and not torch.cuda.is_available():
            raise Refused(f"{self.version} sees no GPU; nothing was measured (--device cpu measures the processor)")
        if self.gpu:
            properties = torch.cuda.get_device_properties(device)
            torch.cuda.set_device(device)
            self.machine, self.cache_bytes = properties.name, getattr(properties, "L2_cache_size", 64 << 20)
            runtime = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"HIP {torch.version.hip}"
            self.driver = f"{self.version}, {runtime}, cuDNN {torch.backends.cudnn.version()}"
        else:
            self.machine, self.cache_bytes, self.driver = processor(), 64 << 20, self.version
        self.threads = 0 if self.gpu else torch.get_num_threads()

    def free_bytes(self) -> int:
        if self.gpu:
            self.torch.cuda.empty_cache()
            return self.torch.cuda.mem_get_info(self.device)[0]
        return available_memory()

    def make_sets(self, shape: Shape, dtype: str) -> list[Buffers]:
        """At least two, which together are larger than the caches several times over."""
        free, wanted = self.free_bytes() * 7 // 10, max(2, 4 * self.cache_bytes // shape.kv_bytes + 1)
        n = min(wanted, 64, free // shape.kv_bytes)
        if n < 1:
            raise Refused(f"needs {shape.kv_bytes / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB may be used")
        kind = {"f16": self.torch.float16, "bf16": self.torch.bfloat16}[dtype]
        return [Buffers(self.torch, shape, kind, self.device) for _ in range(n)]

    def candidates(self, shape: Shape) -> list[tuple[str, object]]:
        found = []
        for backend in BACKENDS if self.gpu else ("FlashAttention", "math"):
            for form in forms(shape):
                name = f"{self.version}, {backend}{f' ({form})' if form else ''}"
                found.append((name, attention(self.torch, backend, form, shape)))
        return found

    def error(self, shape: Shape, buffers: Buffers, run) -> float:
        return relative_error(self.torch, shape, buffers, run(buffers))

    def sampler(self, run, sets: list):
        return GpuSampler(self.torch, run, sets) if self.gpu else CpuSampler(run, sets)

    def read(self, buffers: Buffers):
        return buffers.flat.view(self.torch.float32).sum()

    def streams(self) -> list[tuple[str, int, object]]:
        """Name, bytes moved and sampler of a read and of a copy. Each has two buffers and takes them in turns."""
        n = min(STREAM_BYTES if self.gpu else STREAM_BYTES // 4, self.free_bytes() // 8) // 4
        pair = [self.torch.ones(n, dtype=self.torch.float32, device=self.device) for _ in range(2)]
        turns = [(pair[0], pair[1]), (pair[1], pair[0])]
        return [("read", 4 * n, self.sampler(lambda turn: turn[0].sum(), turns)),
                ("copy", 8 * n, self.sampler(lambda turn: turn[1].copy_(turn[0]), turns))]


def processor() -> str:
    """As skv names it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return "CPU"


def available_memory() -> int:
    try:
        with open("/proc/meminfo", encoding="utf-8") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 4 << 30
