# SPDX-License-Identifier: Apache-2.0
"""Loads, stores and atomics of global, group and private memory; every address is checked."""

import re

import numpy as np

import operands
from decode import Unknown
from instructions_scalar import signed

U32, U64, F32 = np.uint32, np.uint64, np.float32

# name of a type -> bytes, whether loads extend its sign, which half of the register it is in
TYPES = {"dword": (4, False, None), "dwordx2": (8, False, None), "dwordx3": (12, False, None),
         "dwordx4": (16, False, None), "b32": (4, False, None), "b64": (8, False, None), "b96": (12, False, None),
         "b128": (16, False, None), "ubyte": (1, False, None), "sbyte": (1, True, None), "ushort": (2, False, None),
         "sshort": (2, True, None), "byte": (1, False, None), "short": (2, False, None), "u8": (1, False, None),
         "i8": (1, True, None), "u16": (2, False, None), "i16": (2, True, None), "b8": (1, False, None),
         "b16": (2, False, None), "short_d16": (2, False, 0), "short_d16_hi": (2, False, 1), "d16_b16": (2, False, 0),
         "d16_hi_b16": (2, False, 1), "u16_d16": (2, False, 0), "u16_d16_hi": (2, False, 1),
         "b16_d16_hi": (2, False, 1), "ubyte_d16": (1, False, 0), "ubyte_d16_hi": (1, False, 1),
         "d16_u8": (1, False, 0), "d16_hi_u8": (1, False, 1), "byte_d16_hi": (1, False, 1), "b8_d16_hi": (1, False, 1),
         "d16_hi_b8": (1, False, 1)}


def active(w, x):
    if not x.shape:
        x = np.broadcast_to(x, (w.lanes,))
    return x if w.full else x[w.mask]


def put(w, index, words, size, extends, half):
    """Loaded words into registers from index on, for active lanes."""
    if size < 4:
        word = words[0]
        if extends:
            word = word.astype(f"u{size}").view(f"i{size}").astype(np.int32).view(U32)
        if half is not None:
            old = active(w, w.u[index])
            word = old & U32(0xFFFF0000) | word if half == 0 else old & U32(0xFFFF) | word << U32(16)
        words = [word]
    for i, word in enumerate(words):
        if w.full:
            w.u[index + i][:] = word
        else:
            w.u[index + i][w.mask] = word


def take(w, index, size, half):
    """What a store writes: words of active lanes."""
    words = [active(w, w.u[index + i]) for i in range(max(size // 4, 1))]
    return [words[0] >> U32(16)] if half == 1 else words


# ---- addresses: wave -> (memory, [active lanes] of offsets)

def global_address(ins, at):
    """A base in two registers, or a scalar base and 32 bits of each lane."""
    base, offset = ins.operands[at + 1] if len(ins.operands) > at + 1 else "off", ins.get("offset")
    more = U64(offset & (1 << 64) - 1)
    if base == "off":
        read = operands.lanes(ins.operands[at], "u64")
        return lambda w: (w.memory, active(w, read(w)) + more)
    start, read = operands.scalar(base, 2), operands.lanes(ins.operands[at], "u32")
    return lambda w: (w.memory, active(w, read(w)).astype(U64) + U64(start(w)) + more)


def flat_address(ins, at):
    """Generic pointers: an aperture for group memory, one for private memory, else global memory."""
    read, more = operands.lanes(ins.operands[at], "u64"), U64(ins.get("offset") & (1 << 64) - 1)

    def address(w):
        addresses = active(w, read(w)) + more
        apertures = np.unique(addresses >> U64(60))
        if len(apertures) > 1:
            raise Unknown("one flat access to several kinds of memory")
        if apertures[0] == operands.SHARED_BASE >> 60:
            return w.lds, (addresses & U64(0xFFFFFFFF)).astype(np.int64)
        if apertures[0] == operands.PRIVATE_BASE >> 60:
            return w.scratch, private_offsets(w, (addresses & U64(0xFFFFFFFF)).astype(np.int64))
        return w.memory, addresses
    return address


def private_offsets(w, offsets):
    """Each lane's own bytes follow those of the lane before."""
    if w.scratch is None or (offsets < 0).any() or (offsets >= w.scratch.size // w.lanes).any():
        raise IndexError("access outside the lane's private memory")
    return offsets + active(w, np.arange(w.lanes)) * (w.scratch.size // w.lanes)


def private_address(ins, at):
    """scratch_*: a lane's offset or `off`, a scalar one or `off`."""
    lane, base, more = ins.operands[at], ins.operands[at + 1], ins.get("offset")
    read = (lambda w: U32(0)) if lane == "off" else operands.lanes(lane, "u32")
    start = operands.scalar(base)
    return lambda w: (w.scratch, private_offsets(w, active(w, read(w)).astype(np.int64) + signed(start(w)) + more))


def buffer_address(ins, at):
    """buffer_* serves private memory alone here; its descriptor is not looked at."""
    if ins.operands[at + 1] != "s[0:3]":
        raise Unknown("buffers other than private memory")
    lane, base, more = ins.operands[at], ins.operands[at + 2], ins.get("offset")
    read = operands.lanes(lane, "u32") if ins.get("offen") else lambda w: U32(0)
    start = operands.scalar(base)
    return lambda w: (w.scratch, private_offsets(w, active(w, read(w)).astype(np.int64) + signed(start(w)) + more))


ADDRESSES = {"global": global_address, "flat": flat_address, "scratch": private_address, "buffer": buffer_address}


def load(space, size, extends, half):
    def build(ins):
        index = operands.vector_index(ins.operands[0])
        address = ADDRESSES[space](ins, 1)

        def run(w):
            if w.exec:
                memory, at = address(w)
                put(w, index, memory.load(at, size), size, extends, half)
        return run
    return build


def store(space, size, half):
    def build(ins):
        data_first = space == "buffer"
        index = operands.vector_index(ins.operands[0 if data_first else 1])
        if not data_first:
            ins.operands[1:2] = []
        address = ADDRESSES[space](ins, 1 if data_first else 0)

        def run(w):
            if w.exec:
                memory, at = address(w)
                memory.store(at, size, take(w, index, size, half))
        return run
    return build


# ---- atomics

def as_float(bits):
    return U32(bits).view(F32)


# (memory's value, operand, bits) -> new value
ATOMICS = {
    "add": lambda a, b, n: a + b, "sub": lambda a, b, n: a - b, "swap": lambda a, b, n: b,
    "umin": lambda a, b, n: min(a, b), "umax": lambda a, b, n: max(a, b), "and": lambda a, b, n: a & b,
    "or": lambda a, b, n: a | b, "xor": lambda a, b, n: a ^ b,
    "smin": lambda a, b, n: min(a, b, key=lambda x: signed(x, n)),
    "smax": lambda a, b, n: max(a, b, key=lambda x: signed(x, n)),
    "inc": lambda a, b, n: 0 if a >= b else a + 1, "dec": lambda a, b, n: b if a == 0 or a > b else a - 1,
    "add_f32": lambda a, b, n: int((as_float(a) + as_float(b)).view(U32)),
}
# The names that global atomics have had, with their bits; ds_* has the same names without "u" and "s" before min.
GLOBAL_ATOMICS = {f"{name}{suffix}": (name, bits) for name in ATOMICS for suffix, bits in (("", 32), ("_x2", 64))}
GLOBAL_ATOMICS |= {f"{new}_{kind}{bits}": (old, bits) for bits in (32, 64) for new, kind, old in (
    ("add", "u", "add"), ("sub", "u", "sub"), ("swap", "b", "swap"), ("and", "b", "and"), ("or", "b", "or"),
    ("xor", "b", "xor"), ("min", "u", "umin"), ("max", "u", "umax"), ("min", "i", "smin"), ("max", "i", "smax"),
    ("inc", "u", "inc"), ("dec", "u", "dec"))}
GLOBAL_ATOMICS |= {f"cmpswap{suffix}": ("cmpswap", bits)
                   for suffix, bits in (("", 32), ("_x2", 64), ("_b32", 32), ("_b64", 64))}
GLOBAL_ATOMICS["add_f32"] = ("add_f32", 32)


def values(w, index, n_words):
    words = [active(w, w.u[index + i]).tolist() for i in range(n_words)]
    return words[0] if n_words == 1 else [a | b << 32 for a, b in zip(*words)]


def put_values(w, index, found, n_words):
    put(w, index, [np.array([x >> 32 * i & 0xFFFFFFFF for x in found], U32) for i in range(n_words)], 4, False, None)


def change(w, name, bits, data):
    """lane, old -> new; a compare-and-swap has the new value first and the expected one behind it."""
    n_words = bits // 32
    given = values(w, data, n_words)
    if name != "cmpswap":
        function = ATOMICS[name]
        return lambda lane, old: function(old, given[lane], bits)
    expected = values(w, data + n_words, n_words)
    return lambda lane, old: given[lane] if old == expected[lane] else old


def atomic(space, name, bits):
    n_words = bits // 32

    def build(ins):
        n_address = 2 if space == "global" else 1
        returns = len(ins.operands) > n_address + 1
        result = operands.vector_index(ins.operands[0]) if returns else None
        first = 1 if returns else 0
        data = operands.vector_index(ins.operands.pop(first + 1))
        address = ADDRESSES[space](ins, first)

        def run(w):
            if not w.exec:
                return
            memory, at = address(w)
            before = memory.update(at, bits // 8, change(w, name, bits, data))
            if returns:
                put_values(w, result, before, n_words)
        return run
    return build


# ---- group memory

def group_address(text, offset):
    """The sum wraps at 32 bits, which compilers make use of."""
    read, more = operands.lanes(text, "u32"), U32(offset)
    return lambda w: (active(w, read(w)) + more).astype(np.int64)


def offsets_of(ins, n, step):
    return [ins.get("offset")] if n == 1 else [ins.get(f"offset{i}") * step for i in range(n)]


def group_load(size, extends, half, n=1, step=1):
    def build(ins):
        index = operands.vector_index(ins.operands[0])
        addresses = [group_address(ins.operands[1], offset) for offset in offsets_of(ins, n, size * step)]
        n_words = max(size // 4, 1)

        def run(w):
            if w.exec:
                found = [w.lds.load(address(w), size) for address in addresses]
                for i, words in enumerate(found):
                    put(w, index + i * n_words, words, size, extends, half)
        return run
    return build


def group_store(size, half, n=1, step=1):
    def build(ins):
        addresses = [group_address(ins.operands[0], offset) for offset in offsets_of(ins, n, size * step)]
        indices = [operands.vector_index(text) for text in ins.operands[1:1 + n]]

        def run(w):
            if w.exec:
                for index, address in zip(indices, addresses):
                    w.lds.store(address(w), size, take(w, index, size, half))
        return run
    return build


def group_atomic(name, bits, returns):
    n_words = bits // 32

    def build(ins):
        first = 1 if returns else 0
        address = group_address(ins.operands[first], ins.get("offset"))
        data = operands.vector_index(ins.operands[first + 1])

        def run(w):
            if w.exec:
                before = w.lds.update(address(w), bits // 8, change(w, name, bits, data))
                if returns:
                    put_values(w, operands.vector_index(ins.operands[0]), before, n_words)
        return run
    return build


def pull_lanes(ins):
    """ds_bpermute_b32: each lane reads another one's register; inactive lanes give 0."""
    address, data, write = (operands.lanes(ins.operands[1], "u32"), operands.lanes(ins.operands[2], "u32"),
                            operands.lanes_writer(ins.operands[0], "u32"))
    more = U32(ins.get("offset"))

    def run(w):
        lane = (np.broadcast_to(address(w), (w.lanes,)) + more >> U32(2)) & U32(w.lanes - 1)
        write(w, np.where(w.mask[lane], np.broadcast_to(data(w), (w.lanes,))[lane], U32(0)))
    return run


def swizzle(ins):
    """ds_swizzle_b32 in its form of three masks, within 32 lanes."""
    pattern = int(re.sub(r"\D", "", str(ins.get("offset"))) or 0)
    if pattern & 0x8000:
        raise Unknown("ds_swizzle_b32 but with masks")
    data, write = operands.lanes(ins.operands[1], "u32"), operands.lanes_writer(ins.operands[0], "u32")
    lane = np.arange(ins.lanes)
    source = lane & ~31 | ((lane & pattern & 31 | pattern >> 5 & 31) ^ pattern >> 10 & 31)
    return lambda w: write(w, np.where(w.mask[source], data(w)[source], U32(0)))


def fill():
    table = {name: lambda ins: lambda w: None for name in (
        "buffer_gl0_inv", "buffer_gl1_inv", "buffer_wbinvl1", "buffer_wbinvl1_vol", "buffer_wbl2", "buffer_invl2",
        "buffer_inv", "global_inv", "global_wb", "global_wbinv", "s_code_end")}
    for name, (size, extends, half) in TYPES.items():
        for space in ADDRESSES:
            table[f"{space}_load_{name}"] = load(space, size, extends, half)
            table[f"{space}_store_{name}"] = store(space, size, half)
        for verb in ("ds_read_", "ds_load_"):
            table[verb + name] = group_load(size, extends, half)
        for verb in ("ds_write_", "ds_store_"):
            table[verb + name] = group_store(size, half)
    for bits in (32, 64):
        for read, write, step in (("read2", "write2", 1), ("load_2addr", "store_2addr", 1),
                                  ("read2st64", "write2st64", 64), ("load_2addr_stride64", "store_2addr_stride64", 64)):
            table[f"ds_{read}_b{bits}"] = group_load(bits // 8, False, None, 2, step)
            table[f"ds_{write}_b{bits}"] = group_store(bits // 8, None, 2, step)
        for new, kind, old in (("add", "u", "add"), ("sub", "u", "sub"), ("min", "u", "umin"), ("max", "u", "umax"),
                               ("min", "i", "smin"), ("max", "i", "smax"), ("and", "b", "and"), ("or", "b", "or"),
                               ("xor", "b", "xor")):
            table[f"ds_{new}_{kind}{bits}"] = group_atomic(old, bits, False)
            table[f"ds_{new}_rtn_{kind}{bits}"] = group_atomic(old, bits, True)
    table |= {"ds_add_f32": group_atomic("add_f32", 32, False), "ds_add_rtn_f32": group_atomic("add_f32", 32, True)}
    for space in ("global", "flat"):
        table |= {f"{space}_atomic_{name}": atomic(space, *row) for name, row in GLOBAL_ATOMICS.items()}
    return table | {"ds_bpermute_b32": pull_lanes, "ds_swizzle_b32": swizzle}


TABLE = fill()
