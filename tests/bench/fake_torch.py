# SPDX-License-Identifier: Apache-2.0
"""As much of PyTorch as bench/torch_engine.py uses, without its arithmetic: tensors know their shape and nothing else,
and time passes only when something is launched."""

import contextlib
import sys
import types

# What a backend does with a launch. Tests change it.
COST_MS = {"CUDNN_ATTENTION": 1.0, "FLASH_ATTENTION": 2.0, "MATH": 8.0}
state = types.SimpleNamespace(now=0.0, kind=None, capturing=None, calls=[], graphs=True, wrong=set(), free=1 << 34)


class Tensor:
    def __init__(self, *shape: int):
        self.shape = shape

    def __getattr__(self, name: str):
        """Every operation gives a tensor; which one it is does not matter here."""
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: self

    def __getitem__(self, _) -> "Tensor":
        return self

    @property
    def T(self) -> "Tensor":
        return self

    def view(self, *shape) -> "Tensor":
        return Tensor(*shape)

    def __matmul__(self, _) -> "Tensor":
        return self

    def __sub__(self, _) -> "Tensor":
        return self

    def __truediv__(self, _) -> "Tensor":
        return self

    def __float__(self) -> float:
        return 1.0 if state.kind in state.wrong else 1e-4

    def sum(self) -> "Tensor":
        launch("read", 0.5)
        return self

    def copy_(self, _) -> "Tensor":
        launch("copy", 1.0)
        return self


def launch(what: str, cost: float) -> None:
    if state.capturing is not None:
        state.capturing.cost += cost
    else:
        state.now += cost
    state.calls.append(what)


def sdpa(q: Tensor, k: Tensor, v: Tensor, enable_gqa: bool = False) -> Tensor:
    if state.kind == "EFFICIENT_ATTENTION" and enable_gqa:
        raise RuntimeError("No available kernel. Aborting execution.\nmore lines")
    if q.shape[1] != k.shape[1] and not enable_gqa:
        raise RuntimeError("heads differ")
    launch(state.kind, COST_MS.get(state.kind, 4.0))
    return Tensor(*q.shape)


@contextlib.contextmanager
def sdpa_kernel(kind: str):
    state.kind = kind
    yield


class Event:
    def __init__(self, enable_timing: bool):
        assert enable_timing

    def record(self) -> None:
        self.at = state.now

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, other: "Event") -> float:
        return other.at - self.at


class CUDAGraph:
    cost = 0.0

    def replay(self) -> None:
        state.now += self.cost


@contextlib.contextmanager
def graph(of: CUDAGraph):
    if not state.graphs:
        raise RuntimeError("operation not permitted when stream is capturing")
    state.capturing = of
    try:
        yield
    finally:
        state.capturing = None


def install(gpu: bool = True) -> None:
    torch, nn, attention, functional = (types.ModuleType(name) for name in (
        "torch", "torch.nn", "torch.nn.attention", "torch.nn.functional"))
    attention.SDPBackend = types.SimpleNamespace(**{name: name for name in (
        "CUDNN_ATTENTION", "FLASH_ATTENTION", "EFFICIENT_ATTENTION", "MATH")})
    attention.sdpa_kernel, functional.scaled_dot_product_attention = sdpa_kernel, sdpa
    nn.attention, nn.functional, torch.nn = attention, functional, nn
    torch.__version__ = "2.11.0"
    torch.version = types.SimpleNamespace(cuda="12.8", hip=None)
    torch.backends = types.SimpleNamespace(cudnn=types.SimpleNamespace(version=lambda: 91000))
    torch.float16, torch.bfloat16, torch.float32 = "float16", "bfloat16", "float32"
    torch.empty = torch.ones = lambda *shape, **_: Tensor(*shape)
    torch.softmax = lambda tensor, _: tensor
    torch.get_num_threads = lambda: 2
    properties = types.SimpleNamespace(name="Fake GPU", L2_cache_size=50 << 20)
    torch.cuda = types.SimpleNamespace(
        is_available=lambda: gpu, get_device_properties=lambda _: properties, set_device=lambda _: None,
        synchronize=lambda: None, empty_cache=lambda: None, mem_get_info=lambda _: (state.free, state.free),
        Event=Event, CUDAGraph=CUDAGraph, graph=graph, _sleep=lambda _: None)
    sys.modules |= {"torch": torch, "torch.nn": nn, "torch.nn.attention": attention,
                    "torch.nn.functional": functional}


def remove() -> None:
    for name in ("torch", "torch.nn", "torch.nn.attention", "torch.nn.functional"):
        sys.modules.pop(name, None)
    state.__dict__.update(now=0.0, kind=None, capturing=None, calls=[], graphs=True, wrong=set(), free=1 << 34)
