# SPDX-License-Identifier: Apache-2.0
"""AMDGPU code objects: the ELF file, its metadata note and its kernel descriptors.

Layouts are those of "User Guide for AMDGPU Backend" (llvm.org/docs/AMDGPUUsage.html), code object versions 4 to 6.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

NOTE_METADATA = 32
SECTION_SYMBOLS = 11
SEGMENT_LOAD, SEGMENT_NOTE = 1, 4

# The low 8 bits of e_flags.
MACHINES = {0x2F: "gfx906", 0x30: "gfx908", 0x3F: "gfx90a", 0x4C: "gfx942", 0x4F: "gfx950", 0x36: "gfx1030",
            0x37: "gfx1031", 0x38: "gfx1032", 0x41: "gfx1100", 0x46: "gfx1101", 0x47: "gfx1102", 0x43: "gfx1150",
            0x4A: "gfx1151", 0x48: "gfx1200", 0x4E: "gfx1201", 0x51: "gfx9-generic", 0x5F: "gfx9-4-generic",
            0x52: "gfx10-1-generic", 0x53: "gfx10-3-generic", 0x54: "gfx11-generic", 0x59: "gfx12-generic"}


def generation(target: str) -> int:
    return int(target[3:-2])


def packs_lane_ids(target: str) -> bool:
    """Whether a lane's three ids come in one register."""
    return generation(target) >= 11 or target in ("gfx90a", "gfx942", "gfx950")


def finds_private_memory(target: str) -> bool:
    """Whether a wave is not given the place of its private memory."""
    return generation(target) >= 11 or target in ("gfx942", "gfx950")


def unpack_message(data: bytes):
    """The value of a msgpack document."""
    value, end = _unpack(data, 0)
    if end > len(data):
        raise ValueError("msgpack document is cut short")
    return value


def _unpack(data, at):
    tag = data[at]
    if tag < 0x80:
        return tag, at + 1
    if tag < 0x90:
        return _unpack_map(data, at + 1, tag & 15)
    if tag < 0xA0:
        return _unpack_list(data, at + 1, tag & 15)
    if tag < 0xC0:
        return _unpack_text(data, at + 1, tag & 31)
    if tag >= 0xE0:
        return tag - 256, at + 1
    if tag in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[tag], at + 1
    if 0xCC <= tag <= 0xD3:
        size = 1 << (tag & 3)
        return int.from_bytes(data[at + 1:at + 1 + size], "big", signed=tag >= 0xD0), at + 1 + size
    counted = {0xD9: (1, _unpack_text), 0xDA: (2, _unpack_text), 0xDB: (4, _unpack_text), 0xDC: (2, _unpack_list),
               0xDD: (4, _unpack_list), 0xDE: (2, _unpack_map), 0xDF: (4, _unpack_map)}
    if tag not in counted:
        raise ValueError(f"msgpack type {tag:#x}")
    size, read = counted[tag]
    return read(data, at + 1 + size, int.from_bytes(data[at + 1:at + 1 + size], "big"))


def _unpack_text(data, at, n):
    return data[at:at + n].decode(), at + n


def _unpack_list(data, at, n):
    found = []
    for _ in range(n):
        value, at = _unpack(data, at)
        found.append(value)
    return found, at


def _unpack_map(data, at, n):
    found = {}
    for _ in range(n):
        key, at = _unpack(data, at)
        found[key], at = _unpack(data, at)
    return found, at


@dataclass
class Descriptor:
    """What a kernel wants in its registers when a wave starts."""

    entry: int
    kernarg_bytes: int
    rsrc1: int
    rsrc2: int
    properties: int
    preload: int

    @classmethod
    def unpack(cls, data: bytes, address: int):
        _, _, kernarg_bytes, _, entry = struct.unpack_from("<IIIIq", data)
        _, rsrc1, rsrc2, properties, preload = struct.unpack_from("<IIIHH", data, 44)
        return cls(address + entry, kernarg_bytes, rsrc1, rsrc2, properties, preload)

    def wants(self, bit: int) -> bool:
        return bool(self.properties >> bit & 1)

    @property
    def keeps_subnormals(self) -> bool:
        return self.rsrc1 >> 16 & 3 == 3

    @property
    def has_private_segment(self) -> bool:
        return bool(self.rsrc2 & 1)

    @property
    def n_user_scalars(self) -> int:
        return self.rsrc2 >> 1 & 31

    @property
    def group_ids(self) -> list:
        """The dimensions whose group ids a wave is given."""
        return [i for i in range(3) if self.rsrc2 >> 7 + i & 1]

    @property
    def has_group_info(self) -> bool:
        return bool(self.rsrc2 >> 10 & 1)

    @property
    def n_lane_ids(self) -> int:
        return (self.rsrc2 >> 11 & 3) + 1


class CodeObject:
    """target, image (bytes by virtual address), symbols (name -> (address, size)), kernels (name -> metadata)."""

    def __init__(self, path):
        self.path = Path(path)
        data = self.path.read_bytes()
        if data[:5] != b"\x7fELF\x02":
            raise ValueError(f"{path} is no 64-bit ELF file")
        segments_at, sections_at, flags = struct.unpack_from("<QQI", data, 32)
        n_segments, = struct.unpack_from("<H", data, 56)
        n_sections, = struct.unpack_from("<H", data, 60)
        if flags & 0xFF not in MACHINES:
            raise ValueError(f"{path} is for machine {flags & 0xFF:#x}, which is not supported")
        self.target = MACHINES[flags & 0xFF]
        segments = [struct.unpack_from("<IIQQQQQQ", data, segments_at + 56 * i) for i in range(n_segments)]
        sections = [struct.unpack_from("<IIQQQQIIQQ", data, sections_at + 64 * i) for i in range(n_sections)]
        self.image = self._load(data, segments)
        self.metadata = self._read_metadata(data, segments)
        self.symbols = self._read_symbols(data, sections)
        self.kernels = {kernel[".name"]: kernel for kernel in self.metadata["amdhsa.kernels"]}

    @staticmethod
    def _load(data, segments):
        image = bytearray(max(s[3] + s[6] for s in segments if s[0] == SEGMENT_LOAD))
        for kind, _, offset, address, _, file_bytes, _, _ in segments:
            if kind == SEGMENT_LOAD:
                image[address:address + file_bytes] = data[offset:offset + file_bytes]
        return image

    @staticmethod
    def _read_metadata(data, segments):
        for kind, _, at, _, _, n_bytes, _, _ in segments:
            end = at + n_bytes
            while kind == SEGMENT_NOTE and at < end:
                name_bytes, text_bytes, note = struct.unpack_from("<III", data, at)
                text = at + 12 + (name_bytes + 3 & ~3)
                if note == NOTE_METADATA:
                    return unpack_message(data[text:text + text_bytes])
                at = text + (text_bytes + 3 & ~3)
        raise ValueError("code object without metadata")

    @staticmethod
    def _read_symbols(data, sections):
        symbols = {}
        for _, kind, _, _, at, n_bytes, link, _, _, _ in sections:
            if kind != SECTION_SYMBOLS:
                continue
            names = sections[link][4]
            for entry in range(at, at + n_bytes, 24):
                name, _, _, _, value, size = struct.unpack_from("<IBBHQQ", data, entry)
                start = names + name
                symbols[data[start:data.index(b"\0", start)].decode()] = (value, size)
        return symbols

    def descriptor(self, kernel: str) -> Descriptor:
        address, _ = self.symbols[self.kernels[kernel][".symbol"]]
        return Descriptor.unpack(bytes(self.image[address:address + 64]), address)
