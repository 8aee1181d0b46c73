# SPDX-License-Identifier: Apache-2.0
"""Disassembled text -> instructions, and what their modifiers mean for operands."""

import re

import numpy as np

import operands
from code_object import generation

SUFFIX = re.compile(r"_(e32|e64|dpp|dpp8|sdwa|e64_dpp|e64_dpp8|e96)$")
FLAGS_TO_IGNORE = {"glc", "slc", "dlc", "sc0", "sc1", "nt", "done", "gds", "scc"}
LISTS = ("op_sel", "op_sel_hi", "neg_lo", "neg_hi", "quad_perm")


class Unknown(Exception):
    """An instruction or a use of one that is not supported."""


def split_operands(text):
    parts, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char in "[(") - (char in "])")
        if char == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    parts.append(text[start:].strip())
    return [part for part in parts if part]


def read_modifier(token):
    name, _, value = token.partition(":")
    if name in LISTS:
        return name, [int(x) for x in value.strip("[]").split(",")]
    if re.fullmatch(r"-?(0x[0-9a-f]+|\d+)", value):
        return name, int(value, 0)
    return name, value or True


class Instruction:
    """mnemonic: without the encoding's suffix; lanes: of a wave of this target."""

    def __init__(self, text, address, size, target, lanes):
        self.text, self.address, self.size, self.target, self.lanes = text, address, size, target, lanes
        self.generation = generation(target)
        self.pair = None
        first, _, second = text.partition(" :: ")
        if second:
            self.pair = (Instruction(first.replace("v_dual_", "v_"), address, size, target, lanes),
                         Instruction(second.replace("v_dual_", "v_"), address, size, target, lanes))
        name, _, rest = first.partition(" ")
        self.mnemonic = SUFFIX.sub("", name)
        self.sdwa = name.endswith("_sdwa")
        rest = re.sub(r"<.*>", "", rest).strip()
        self.operands, self.modifiers = [], {}
        if self.mnemonic.startswith(("s_waitcnt", "s_delay_alu", "s_sendmsg", "s_getreg", "s_setreg", "s_wait")):
            return
        self.operands = split_operands(rest)
        if self.operands:
            tokens = self.operands[-1].split()
            self.operands[-1] = tokens[0]
            # "sext(v1)" and the like have no blanks, so that what is left are modifiers.
            for token in tokens[1:]:
                key, value = read_modifier(token)
                if key not in FLAGS_TO_IGNORE:
                    self.modifiers[key] = value

    @property
    def vcc_name(self):
        return "vcc" if self.lanes == 64 else "vcc_lo"

    @property
    def keeps_high(self):
        """Results of 16 bits leave the register's upper half alone from RDNA on."""
        return self.generation >= 10

    def get(self, name, default=0):
        return self.modifiers.get(name, default)

    # ---- operands, with what the encoding does to them

    def source(self, i, kind):
        """Operand i; the first source may come from other lanes, and parts of registers may be chosen."""
        text = self.operands[i]
        choice = self.get(f"src{i - 1}_sel", None) if self.sdwa else None
        if choice is not None:
            return chosen_part(text, choice, kind)
        if kind[1:] == "16" and self.get("op_sel", None) and operands.vector_index(text.strip("-|")) is not None and \
                not names_half(text):
            if self.modifiers["op_sel"][i - 1]:
                text = re.sub(r"(v\d+)", r"\1.h", text)
        read = operands.lanes(text, kind)
        if i == 1 and self.moves_lanes:
            return self._moved(read)
        return read

    @property
    def moves_lanes(self):
        return any(name in self.modifiers for name in MOVES)

    def _moved(self, read):
        from_lane, valid, _ = lane_moves(self)

        def moved(w):
            x = np.broadcast_to(read(w), (w.lanes,))
            return np.where(valid, x[from_lane], x.dtype.type(0))
        return moved

    def writer(self, i, kind):
        """Destination i, with the modifiers of results."""
        part = self.get("dst_sel", "DWORD")
        if part != "DWORD":
            return part_writer(self.operands[i], part, self.get("dst_unused", "UNUSED_PAD"), kind)
        if self.get("op_sel", None) and kind[1:] == "16" and self.modifiers["op_sel"][-1] and \
                not names_half(self.operands[i]):
            raise Unknown("op_sel of a destination")
        write = operands.lanes_writer(self.operands[i], kind, self.keeps_high)
        if self.moves_lanes:
            write = written_where(write, lane_moves(self)[2])
        scale = {"mul:2": 2.0, "mul:4": 4.0, "div:2": 0.5}
        factor = next((scale[f"{n}:{v}"] for n, v in self.modifiers.items() if f"{n}:{v}" in scale), None)
        clamp = bool(self.get("clamp"))
        if factor is None and not clamp:
            return write
        if kind[0] != "f":
            raise Unknown("clamp of integers")

        def changed(w, x):
            if factor is not None:
                x = x * x.dtype.type(factor)
            if clamp:
                x = np.where(np.isnan(x), x.dtype.type(0), np.clip(x, 0, 1)).astype(x.dtype)
            write(w, x)
        return changed

    @property
    def is_plain(self):
        """Whether a ufunc may write its result straight into the register."""
        return not self.sdwa and not any(n in self.modifiers for n in ("clamp", "mul", "div", "op_sel", *MOVES))


def names_half(text):
    """Newer disassemblers say v1.h besides what op_sel says."""
    return text.strip("-|")[-2:] in (".l", ".h")


def part_writer(text, part, unused, kind):
    """SDWA: a byte or a half of a register; the rest becomes 0 or stays."""
    if unused not in ("UNUSED_PAD", "UNUSED_PRESERVE"):
        raise Unknown(f"dst_unused:{unused}")
    size = 8 if part.startswith("BYTE") else 16
    shift, limit = np.uint32(int(part[-1]) * size), np.uint32((1 << size) - 1)
    read, write = operands.lanes(text, "u32"), operands.lanes_writer(text, "u32")

    def written(w, x):
        bits = np.asarray(x, operands.TYPES[kind]).view(f"u{int(kind[1:]) // 8}").astype(np.uint32)
        word = (bits & limit) << shift
        write(w, word | read(w) & ~(limit << shift) if unused == "UNUSED_PRESERVE" else word)
    return written


def chosen_part(text, choice, kind):
    """SDWA: a byte or a half of a register, extended."""
    sign = text.startswith("sext(")
    inner = text[5:-1] if sign else text
    if choice == "DWORD":
        return operands.lanes(text, kind)
    size = 8 if choice.startswith("BYTE") else 16
    shift = np.uint32(int(choice[-1]) * size)
    limit = np.uint32((1 << size) - 1)
    read = operands.lanes(inner, "u32")
    dtype = operands.TYPES[kind]

    def part(w):
        x = np.asarray(read(w) >> shift & limit)
        if kind == "f16":
            return x.astype(np.uint16).view(dtype)
        if kind == "f32":
            raise Unknown("SDWA of binary32")
        if sign:
            x = x.astype(f"u{size // 8}").view(f"i{size // 8}").astype(np.int64)
        return x.astype(dtype)
    return part


# ---- DPP: the lane that each lane reads, and whether there is one

def _rows(step):
    def moves(lanes, n):
        lane = np.arange(lanes)
        source = (lane & 15) + step * n
        return (lane & ~15) + (source & 15), (source >= 0) & (source < 16)
    return moves


def _all(function):
    def moves(lanes, n):
        return function(np.arange(lanes), n), np.ones(lanes, bool)
    return moves


def _broadcast(rows):
    def moves(lanes, n):
        lane = np.arange(lanes)
        last = (lane // rows * rows - 1).clip(0)
        return last, lane >= rows
    return moves


MOVES = {
    "quad_perm": _all(lambda lane, n: (lane & ~3) + np.array(n)[lane & 3]),
    "row_shl": _rows(1), "row_shr": _rows(-1),
    "row_ror": _all(lambda lane, n: (lane & ~15) + (lane - n & 15)),
    "row_mirror": _all(lambda lane, n: lane ^ 15), "row_half_mirror": _all(lambda lane, n: lane ^ 7),
    "row_share": _all(lambda lane, n: (lane & ~15) + n), "row_newbcast": _all(lambda lane, n: (lane & ~15) + n),
    "row_xmask": _all(lambda lane, n: lane ^ n), "row_bcast": None,
}


def lane_moves(instruction):
    """The lanes to read, which of them there are, and the lanes to write."""
    n_lanes = instruction.lanes
    row, bank = np.arange(n_lanes) >> 4, np.arange(n_lanes) >> 2 & 3
    written = (instruction.get("row_mask", 15) >> row & instruction.get("bank_mask", 15) >> bank & 1).astype(bool)
    for name, function in MOVES.items():
        if name in instruction.modifiers:
            n = instruction.modifiers[name]
            source, valid = (function or _broadcast(n + 1))(n_lanes, n)
            return source, valid, written if instruction.get("bound_ctrl") else written & valid
    raise Unknown("DPP without a known move")


def written_where(write, lanes):
    def limited(w, x):
        before, w.where = w.where, w.mask & lanes
        write(w, x)
        w.where = before
    return limited
