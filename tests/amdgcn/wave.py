# SPDX-License-Identifier: Apache-2.0
"""A wave: its registers as numpy rows of one element a lane, and which lanes are active."""

import numpy as np

from memory import POISON_WORD

# Accumulation registers follow the 256 vector registers.
N_VECTOR = 512
# Scalars by number, as encoded on all targets here; those above are this tool's own.
VCC, TRAP_TEMPORARIES, M0, FLAT_SCRATCH, N_SCALAR = 106, 108, 124, 128, 130
MASK32 = 0xFFFFFFFF


class Wave:
    def __init__(self, group, lanes, first):
        self.group, self.lanes, self.first = group, lanes, first
        self.lds, self.memory, self.scratch = group.lds, group.machine.memory, None
        registers = np.full((N_VECTOR, lanes), POISON_WORD, np.uint32)
        self.registers = registers
        # The same rows as unsigned, signed and binary32 numbers.
        self.u = list(registers)
        self.i = list(registers.view(np.int32))
        self.f = list(registers.view(np.float32))
        self.s = [POISON_WORD] * N_SCALAR
        self.scc = 0
        self.pc = 0
        self.n_done = 0
        self.set_exec((1 << lanes) - 1)

    def set_exec(self, bits):
        bits &= (1 << self.lanes) - 1
        self.exec = bits
        self.full = bits == (1 << self.lanes) - 1
        self.mask = self.lanes_of(bits)
        # What ufuncs and copyto take as `where`.
        self.where = True if self.full else self.mask

    def lanes_of(self, bits):
        """[lanes] of bool."""
        n_bytes = self.lanes // 8
        packed = np.frombuffer((bits & ((1 << self.lanes) - 1)).to_bytes(n_bytes, "little"), np.uint8)
        return np.unpackbits(packed, bitorder="little").view(np.bool_)

    def bits_of(self, lanes):
        return int.from_bytes(np.packbits(lanes, bitorder="little").tobytes(), "little")

    def pair(self, i):
        return self.s[i] | self.s[i + 1] << 32

    def set_pair(self, i, value):
        self.s[i] = value & MASK32
        self.s[i + 1] = value >> 32 & MASK32

    @property
    def vcc(self):
        return self.pair(VCC) if self.lanes == 64 else self.s[VCC]

    @property
    def first_active(self):
        """The first active lane, or 0 where there is none."""
        return (self.exec & -self.exec).bit_length() - 1 if self.exec else 0
