# SPDX-License-Identifier: Apache-2.0
"""Operands as the disassembler writes them -> functions of a wave that read or write them.

Kinds: u32, i32, f32, u64, i64, f64, u16, i16, f16 for lanes; scalars are Python's integers of 32 bits times n.
"""

import re
import struct

import numpy as np

from wave import FLAT_SCRATCH, M0, MASK32, TRAP_TEMPORARIES, VCC

NAMED = {"vcc": VCC, "vcc_lo": VCC, "vcc_hi": VCC + 1, "m0": M0, "flat_scratch": FLAT_SCRATCH,
         "flat_scratch_lo": FLAT_SCRATCH, "flat_scratch_hi": FLAT_SCRATCH + 1}
FLOATS = {"0.5", "-0.5", "1.0", "-1.0", "2.0", "-2.0", "4.0", "-4.0", "0.15915494", "0.15915494309189532", "0.0"}
TYPES = {"u32": np.uint32, "i32": np.int32, "f32": np.float32, "u64": np.uint64, "i64": np.int64, "f64": np.float64,
         "u16": np.uint16, "i16": np.int16, "f16": np.float16}
# Where pointers into group and private memory lie in the generic address space.
SHARED_BASE, PRIVATE_BASE = 1 << 60, 1 << 61
SPECIAL = {
    "exec": lambda w: w.exec, "exec_lo": lambda w: w.exec & MASK32, "exec_hi": lambda w: w.exec >> 32,
    "scc": lambda w: w.scc, "src_scc": lambda w: w.scc, "null": lambda w: 0, "off": lambda w: 0,
    "src_vccz": lambda w: int(w.vcc == 0), "src_execz": lambda w: int(w.exec == 0),
    "src_shared_base": lambda w: SHARED_BASE, "src_private_base": lambda w: PRIVATE_BASE}

U16, U32, U64 = np.uint16, np.uint32, np.uint64
SIGN = U32(0x80000000)


class UnknownOperand(Exception):
    pass


def vector_index(text):
    """The number of a vector register's first row, or None for other operands."""
    match = re.fullmatch(r"([va])(?:(\d+)(?:\.[lh])?|\[(\d+):\d+\])", text)
    return int(match[2] or match[3]) + (256 if match[1] == "a" else 0) if match else None


def scalar_index(text):
    if text in NAMED:
        return NAMED[text]
    match = re.fullmatch(r"(s|ttmp)(?:(\d+)|\[(\d+):\d+\])", text)
    return int(match[2] or match[3]) + (TRAP_TEMPORARIES if match[1] == "ttmp" else 0) if match else None


def constant(text, kind):
    """The bits of a literal for operations of a kind, or None."""
    if text in FLOATS:
        code = {"f64": "<d", "u64": "<d", "i64": "<d", "f16": "<e", "u16": "<e", "i16": "<e"}.get(kind, "<f")
        return int.from_bytes(struct.pack(code, float(text)), "little")
    match = re.fullmatch(r"(?:lit\()?(-?(?:0x[0-9a-f]+|\d+))\)?", text)
    if not match:
        return None
    value = int(match[1], 0)
    # A literal of 32 bits is the upper half of a binary64.
    if kind == "f64" and "0x" in text and value <= MASK32:
        value <<= 32
    return value


# ---- scalars

def scalar(text, n_words=1):
    """wave -> integer."""
    limit = (1 << 32 * n_words) - 1
    index = scalar_index(text)
    if index is not None:
        if n_words == 1:
            return lambda w: w.s[index]
        if n_words == 2:
            return lambda w: w.s[index] | w.s[index + 1] << 32
        return lambda w: sum(w.s[index + i] << 32 * i for i in range(n_words))
    if text in SPECIAL:
        return SPECIAL[text]
    value = constant(text, "u32")
    if value is None:
        raise UnknownOperand(f"scalar operand {text}")
    value &= limit
    return lambda w: value


def scalar_float(text):
    """wave -> numpy binary32, with the signs that the text has."""
    bare = text.strip("-|") if re.match(r"-?\||-[a-z]", text) else text
    read, flip, absolute = scalar(bare), bare is not text and text[0] == "-", "|" in text
    if not (flip or absolute):
        return lambda w: U32(read(w)).view(np.float32)
    return lambda w: _signed(U32(read(w)), flip, absolute).view(np.float32)


def scalar_writer(text, n_words=1):
    """function of (wave, integer)."""
    if text in ("exec", "exec_lo"):
        return lambda w, x: w.set_exec(x)
    if text == "exec_hi":
        return lambda w, x: w.set_exec(w.exec & MASK32 | x << 32)
    if text == "null":
        return lambda w, x: None
    index = scalar_index(text)
    if index is None:
        raise UnknownOperand(f"scalar destination {text}")
    if n_words == 1:
        def write(w, x):
            w.s[index] = x & MASK32
    else:
        def write(w, x):
            for i in range(n_words):
                w.s[index + i] = x >> 32 * i & MASK32
    return write


def mask_writer(text, lanes):
    """Takes an integer of one bit a lane."""
    return scalar_writer(text, lanes // 32)


def mask_reader(text, lanes):
    read = scalar(text, lanes // 32)
    return lambda w: w.lanes_of(read(w))


# ---- lanes

def _signed(bits, flip, absolute):
    if absolute:
        bits = bits & ~SIGN
    return bits ^ SIGN if flip else bits


def _plain(text, kind):
    index = vector_index(text)
    size = int(kind[1:])
    dtype = TYPES[kind]
    if index is None:
        value = constant(text, kind)
        if value is not None:
            value = np.array(value & ((1 << size) - 1), f"u{size // 8}").view(dtype)[()]
            return lambda w: value
        read = scalar(text, 2 if size == 64 else 1)
        wide, limit = {16: U16, 32: U32, 64: U64}[size], (1 << size) - 1
        return lambda w: wide(read(w) & limit).view(dtype)
    if size == 32:
        return {"u32": lambda w: w.u[index], "i32": lambda w: w.i[index], "f32": lambda w: w.f[index]}[kind]
    if size == 16:
        half = 1 if text.endswith(".h") else 0
        return lambda w: w.u[index].view(dtype)[half::2]

    def read64(w):
        both = np.empty((w.lanes, 2), U32)
        both[:, 0] = w.u[index]
        both[:, 1] = w.u[index + 1]
        return both.view(dtype)[:, 0]
    return read64


def lanes(text, kind):
    """wave -> [lanes] of the kind, or one numpy number for all."""
    match = re.fullmatch(r"(-?)\|(.*)\||(-)([a-z].*)|neg\((.*)\)", text)
    if not match:
        return _plain(text, kind)
    flip, absolute = bool(match[1] or match[3] or match[5]), match[2] is not None
    read = _plain(match[2] or match[4] or match[5], kind)
    if kind == "u32":
        return lambda w: _signed(read(w), flip, absolute)
    if kind[0] != "f":
        raise UnknownOperand(f"sign of {text} as {kind}")
    if absolute:
        return (lambda w: -np.abs(read(w))) if flip else (lambda w: np.abs(read(w)))
    return lambda w: np.negative(read(w))


def lanes_writer(text, kind, keeps_high=False):
    """function of (wave, [lanes] of the kind), for active lanes. keeps_high: of 16 bits, the upper half stays."""
    index = vector_index(text)
    if index is None:
        raise UnknownOperand(f"vector destination {text}")
    size = int(kind[1:])
    if size == 32:
        name = {"u32": "u", "i32": "i", "f32": "f"}[kind]
        return lambda w, x: np.copyto(getattr(w, name)[index], x, where=w.where)
    if size == 16:
        half = 1 if text.endswith(".h") else 0
        dtype = TYPES[kind]

        def write16(w, x):
            if keeps_high or text[-2:] in (".l", ".h"):
                np.copyto(w.u[index].view(dtype)[half::2], x, where=w.where)
            else:
                np.copyto(w.u[index], np.asarray(x, dtype).view(U16).astype(U32), where=w.where)
        return write16

    def write64(w, x):
        both = np.ascontiguousarray(np.broadcast_to(x, (w.lanes,))).view(U32).reshape(-1, 2)
        np.copyto(w.u[index], both[:, 0], where=w.where)
        np.copyto(w.u[index + 1], both[:, 1], where=w.where)
    return write64
