# SPDX-License-Identifier: Apache-2.0
"""A thin binding of libskv for scripts: the public structs under their own names, and functions that raise Error.

The library is found through SKV_LIBRARY, else by the loader's rules. Spans take native addresses of wrapped buffers."""
import ctypes as c
import os

F16, BF16, F32 = 1, 2, 3
FIXED, RAGGED = 0, 1
u32, u64, f32, ptr = c.c_uint32, c.c_uint64, c.c_float, c.c_void_p


class Error(Exception):
    pass


class Struct(c.Structure):
    """A struct whose first field is its own size."""

    def __init__(self, **fields):
        super().__init__(**fields)
        if self._fields_[0][0] == "struct_size":
            self.struct_size = c.sizeof(self)


class Span(c.Structure):
    _fields_ = [("buffer", ptr), ("offset", u64)]


class Rows(c.Structure):
    _fields_ = [("data", Span), ("token_stride", u64), ("head_stride", u64)]


class Pool(c.Structure):
    _fields_ = [("layout", ptr), ("pages", Span), ("n_blocks", u64)]


class Select(c.Structure):
    _fields_ = [("strategy", u32), ("kept", u32), ("kept_per_head", ptr), ("threshold", f32), ("group_tokens", u32),
                ("protect_tokens", u32), ("reserved", u32), ("weights", Span), ("mask", Span)]


class DeviceParams(Struct):
    _fields_ = [("struct_size", u32), ("flags", u32), ("id", c.c_char_p), ("cpu_isa", c.c_char_p), ("cpu_threads", u32),
                ("reserved", u32), ("cpu_executor", ptr), ("native_context", u64)]


class QueueParams(Struct):
    _fields_ = [("struct_size", u32), ("flags", u32), ("native", u64)]


class BufferParams(Struct):
    _fields_ = [("struct_size", u32), ("flags", u32), ("bytes", u64), ("host", ptr), ("native", u64)]


class LayoutParams(Struct):
    _fields_ = [("struct_size", u32), ("flags", u32), ("dtype", u32), ("form", u32), ("head_dim", u32),
                ("n_kv_heads", u32), ("kept", u32), ("page_tokens", u32), ("kept_per_head", ptr), ("row_stride", u32),
                ("page_bytes", u32)]


class CompressParams(Struct):
    _fields_ = [("struct_size", u32), ("flags", u32), ("n_tokens", u64), ("rows", Rows), ("pool", Pool),
                ("slot_mapping", Span), ("first_slot", u64), ("select", Select), ("row_bytes", Span)]


class DecompressParams(Struct):
    _fields_ = [("struct_size", u32), ("flags", u32), ("n_tokens", u64), ("pool", Pool), ("slot_mapping", Span),
                ("first_slot", u64), ("out", Rows)]


class AttendParams(Struct):
    _fields_ = [("struct_size", u32), ("flags", u32), ("n_seqs", u32), ("n_new", u32), ("n_q_heads", u32),
                ("n_kv_heads", u32), ("head_dim", u32), ("dtype", u32), ("q_dtype", u32), ("out_dtype", u32),
                ("q", Span), ("q_seq_stride", u64), ("q_token_stride", u64), ("q_head_stride", u64), ("out", Span),
                ("out_seq_stride", u64), ("out_token_stride", u64), ("out_head_stride", u64), ("lse", Span),
                ("k_pool", Pool), ("v_pool", Pool), ("k_blocks", Span), ("v_blocks", Span), ("block_stride", u64),
                ("cache_lens", Span), ("max_cache_tokens", u64), ("k_tail", Span), ("v_tail", Span),
                ("tail_seq_stride", u64), ("tail_token_stride", u64), ("tail_head_stride", u64), ("tail_lens", Span),
                ("max_tail_tokens", u64), ("scale", f32), ("softcap", f32), ("window", u64), ("sink_tokens", u64),
                ("sink_logits", Span), ("split_tokens", u32), ("reserved", u32), ("workspace", Span)]


class Library:
    def __init__(self, path=None):
        self._lib = c.CDLL(path or os.environ.get("SKV_LIBRARY", "libskv.so.0"))
        self._lib.skv_error_message.restype = c.c_char_p
        self._lib.skv_queue_last_kernel.restype = c.c_char_p

    def call(self, name, *args):
        if getattr(self._lib, "skv_" + name)(*args) != 0:
            raise Error(f"skv_{name}: {self._lib.skv_error_message().decode()}")

    def make(self, name, *args):
        made = ptr()
        self.call(name, *args, c.byref(made))
        return made

    def device(self, id):
        return self.make("device_open", c.byref(DeviceParams(id=id.encode())))

    def queue(self, device, native=0):
        return self.make("queue_create", device, c.byref(QueueParams(native=native)))

    def wrap(self, device, address, n_bytes):
        """A span over memory that is the caller's."""
        return Span(self.make("buffer_create", device, c.byref(BufferParams(bytes=n_bytes, native=address))), 0)

    def layout(self, **fields):
        return self.make("layout_create", c.byref(LayoutParams(**fields)))

    def pool_bytes(self, layout, n_blocks):
        n_bytes = u64()
        self.call("layout_pool_bytes", layout, u64(n_blocks), c.byref(n_bytes))
        return n_bytes.value

    def stride_for_banks(self, head_dim, kept):
        stride = u32()
        self.call("row_stride_for_banks", head_dim, kept, c.byref(stride))
        return stride.value

    def attend_workspace(self, device, params):
        n_bytes = u64()
        self.call("attend_workspace", device, c.byref(params), c.byref(n_bytes))
        return n_bytes.value

    def last_kernel(self, queue):
        return self._lib.skv_queue_last_kernel(queue).decode()
