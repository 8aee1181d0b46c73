# SPDX-License-Identifier: Apache-2.0
"""Memory as waves see it: buffers far apart, so that what leaves one is noticed, and a group's own memory."""

import numpy as np

U8, U16, U32, U64 = np.uint8, np.uint16, np.uint32, np.uint64

BASE = 1 << 44
APART_BITS = 36
# Reads as NaN of every type and as an index that is out of range.
POISON_BYTE = 0xFF
POISON_WORD = 0xFFFFDEAD


class AccessError(Exception):
    """An access outside all buffers, or a write where none is allowed."""


class Bytes:
    """A run of bytes that lanes read and write in units of 1, 2 and 4 bytes."""

    def __init__(self, name, data, base=0, writable=True):
        self.name, self.base, self.size, self.writable = name, base, len(data), writable
        padded = np.zeros(len(data) + 15 & ~15, U8)
        padded[:len(data)] = data
        self.u8, self.u16, self.u32 = padded, padded.view(U16), padded.view(U32)

    def check(self, at, n_bytes, write):
        """`at`: offsets, one for each lane that takes part."""
        if write and not self.writable:
            raise AccessError(f"write of {n_bytes} bytes into {self.name}, which is read-only")
        if at.max() + n_bytes > self.size:
            worst = int(at.max())
            raise AccessError(f"{'write' if write else 'read'} of {n_bytes} bytes at {worst:#x} of {self.name}, "
                              f"which has {self.size:#x}")

    def load(self, at, n_bytes):
        """[words][lanes] of 32 bits; a single one of zero-extended bits for 1 and 2 bytes."""
        self.check(at, n_bytes, False)
        if n_bytes >= 4 and not (at & 3).any():
            first = at >> 2
            return [self.u32[first + i] for i in range(n_bytes // 4)]
        if n_bytes == 2 and not (at & 1).any():
            return [self.u16[at >> 1].astype(U32)]
        whole = self.u8[at[:, None] + np.arange(n_bytes)]
        if n_bytes < 4:
            wide = np.zeros((len(at), 4), U8)
            wide[:, :n_bytes] = whole
            whole = wide
        return list(np.ascontiguousarray(whole).view(U32).T)

    def store(self, at, n_bytes, words):
        self.check(at, n_bytes, True)
        if n_bytes >= 4 and not (at & 3).any():
            first = at >> 2
            for i, word in enumerate(words):
                self.u32[first + i] = word
        elif n_bytes == 2 and not (at & 1).any():
            self.u16[at >> 1] = words[0].astype(U16)
        else:
            whole = np.ascontiguousarray(np.stack(words, 1)).view(U8)
            self.u8[at[:, None] + np.arange(n_bytes)] = whole[:, :n_bytes]

    def update(self, at, n_bytes, change):
        """value -> change(lane, value) for one lane after the other; returns the values before."""
        self.check(at, n_bytes, True)
        before = []
        for lane, offset in enumerate(at.tolist()):
            old = int.from_bytes(self.u8[offset:offset + n_bytes].tobytes(), "little")
            new = change(lane, old) & ((1 << 8 * n_bytes) - 1)
            self.u8[offset:offset + n_bytes] = np.frombuffer(new.to_bytes(n_bytes, "little"), U8)
            before.append(old)
        return before


class GroupMemory(Bytes):
    def __init__(self, n_bytes):
        super().__init__("group memory", np.full(n_bytes, POISON_BYTE, U8))


class Memory:
    """Buffers at addresses of their own."""

    def __init__(self):
        self.buffers = []

    def add(self, name, data, writable=True) -> int:
        """Copies data in and returns its address; read it back through `bytes_of`."""
        base = BASE + (len(self.buffers) << APART_BITS)
        flat = np.frombuffer(np.ascontiguousarray(data).tobytes(), U8)
        self.buffers.append(Bytes(name, flat, base, writable))
        return base

    def bytes_of(self, address):
        buffer = self.buffers[(address - BASE) >> APART_BITS]
        return buffer.u8[:buffer.size]

    def _at(self, address):
        index = (int(address) - BASE) >> APART_BITS
        if not 0 <= index < len(self.buffers):
            raise AccessError(f"address {int(address):#x} is in no buffer")
        return self.buffers[index]

    def _parts(self, addresses):
        """(buffer, lanes or None for all, offsets) for each buffer that is met."""
        buffer = self._at(addresses[0])
        offsets = addresses - U64(buffer.base)
        if not (offsets >> U64(APART_BITS)).any():
            return [(buffer, None, offsets.astype(np.int64))]
        parts = []
        keys = addresses >> U64(APART_BITS)
        for key in np.unique(keys):
            lanes = np.nonzero(keys == key)[0]
            buffer = self._at(int(key) << APART_BITS)
            parts.append((buffer, lanes, (addresses[lanes] - U64(buffer.base)).astype(np.int64)))
        return parts

    def load(self, addresses, n_bytes):
        parts = self._parts(addresses)
        if parts[0][1] is None:
            return parts[0][0].load(parts[0][2], n_bytes)
        found = [np.zeros(len(addresses), U32) for _ in range(max(n_bytes // 4, 1))]
        for buffer, lanes, offsets in parts:
            for word, part in zip(found, buffer.load(offsets, n_bytes)):
                word[lanes] = part
        return found

    def store(self, addresses, n_bytes, words):
        for buffer, lanes, offsets in self._parts(addresses):
            buffer.store(offsets, n_bytes, words if lanes is None else [word[lanes] for word in words])

    def update(self, addresses, n_bytes, change):
        before = [0] * len(addresses)
        for buffer, lanes, offsets in self._parts(addresses):
            lanes = range(len(addresses)) if lanes is None else lanes.tolist()
            old = buffer.update(offsets, n_bytes, lambda i, value, lanes=lanes: change(lanes[i], value))
            for lane, value in zip(lanes, old):
                before[lane] = value
        return before

    def read(self, address, n_bytes) -> int:
        """One value, as scalar loads take it."""
        buffer = self._at(address)
        at = address - buffer.base
        if at + n_bytes > buffer.size:
            raise AccessError(f"read of {n_bytes} bytes at {at:#x} of {buffer.name}, which has {buffer.size:#x}")
        return int.from_bytes(buffer.u8[at:at + n_bytes].tobytes(), "little")
