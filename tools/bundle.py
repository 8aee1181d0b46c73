#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bundle.py OUT CODE-OBJECT...: one file of code objects for several AMD targets, from which hipModuleLoadData picks.

The format is that of "Clang Offload Bundler" (clang.llvm.org/docs/ClangOffloadBundler.html), uncompressed: a magic
text, the number of entries, {offset, size, length of id, id} of each, then their bytes. The first is an empty one for
the host, which loaders expect."""

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "amdgcn"))

MAGIC = b"__CLANG_OFFLOAD_BUNDLE__"
HOST = "host-x86_64-unknown-linux-gnu-"
DEVICE = "hipv4-amdgcn-amd-amdhsa--"
# Code objects are mapped page by page.
ALIGNMENT = 4096


def write_bundle(entries):
    """[(id, bytes)] -> bytes."""
    table = len(MAGIC) + 8 + sum(24 + len(name) for name, _ in entries)
    at = table + -table % ALIGNMENT
    header, body = MAGIC + struct.pack("<Q", len(entries)), b""
    for name, data in entries:
        header += struct.pack("<QQQ", at, len(data), len(name)) + name.encode()
        body += data + bytes(-len(data) % ALIGNMENT)
        at += len(data) + -len(data) % ALIGNMENT
    return header + bytes(-table % ALIGNMENT) + body


def read_bundle(data):
    """The inverse."""
    if not data.startswith(MAGIC):
        raise ValueError("no offload bundle")
    count, = struct.unpack_from("<Q", data, len(MAGIC))
    at, entries = len(MAGIC) + 8, []
    for _ in range(count):
        start, size, length = struct.unpack_from("<QQQ", data, at)
        if start + size > len(data):
            raise ValueError("offload bundle is cut short")
        entries.append((data[at + 24:at + 24 + length].decode(), data[start:start + size]))
        at += 24 + length
    return entries


def target_of(data):
    """A code object's target, from its ELF header."""
    from code_object import MACHINES
    flags, = struct.unpack_from("<I", data, 48)
    if data[:4] != b"\x7fELF" or flags & 0xFF not in MACHINES:
        raise ValueError("no code object of a known target")
    return MACHINES[flags & 0xFF]


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    entries = [(HOST, b"")]
    for path in sys.argv[2:]:
        data = Path(path).read_bytes()
        entries.append((DEVICE + target_of(data), data))
    names = [name for name, _ in entries]
    if len(set(names)) < len(names):
        sys.exit("bundle.py: two code objects for one target")
    Path(sys.argv[1]).write_bytes(write_bundle(entries))


if __name__ == "__main__":
    main()
