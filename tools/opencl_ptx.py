#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""opencl_ptx.py OUT.c [PTX]: nvcc's PTX as programs of NVIDIA's OpenCL driver, one for each kernel, packed into C.

opencl_ptx.py --text FOLDER PTX writes the programs as files instead.

That driver launches a kernel only if its pointers are declared as pointers to global memory, which nvcc does not do:
all parameters of 64 bits are taken for such. Without PTX the C has no programs. It is packed as
backends/opencl/nvidia/programs.c says."""
import pathlib
import re
import sys

# The oldest version that knows all instructions; older drivers refuse newer ones.
VERSION = "8.3"
NEAR, DEPTH = 12, 16


def programs(text):
    """Name -> program, from the output of nvcc."""
    text = re.sub(r"//.*", "", text)
    head, *bodies = re.split(r"^\.visible \.entry ", text, flags=re.M)
    assert ".shared" not in head and ".global" not in head, "variables outside of a kernel"
    target = re.search(r"\.target (\w+)", head).group(1)
    found = {}
    for body in bodies:
        name = re.match(r"\w+", body).group()
        body = body.replace(f"{name}_param_", "p")
        for i, variable in enumerate(sorted(set(re.findall(r"\b_Z\w+", body)))):
            body = re.sub(rf"\b{variable}\b", f"s{i}", body)
        body = re.sub(r"\.param \.u64 (p\d+)", r".param .u64 .ptr .global .align 16 \1", body)
        lines = (line.strip().replace("\t", "") for line in f".visible .entry {body}".splitlines())
        lines = [f".version {VERSION}", f".target {target}", ".address_size 64", *filter(None, lines)]
        found[name] = "\n".join(lines) + "\n"
    return found


def number(value):
    """In 7 bits a byte, the lowest first."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def match_bytes(data, a, b):
    n, step = 0, 256
    while step:
        while data[a + n:a + n + step] == data[b + n:b + n + step] and b + n + step <= len(data):
            n += step
        step //= 4
    return n


def pack(data):
    """Literal bytes, then a copy from before, and so on; a copy of length 0 ends it."""
    out, places, at, literal = bytearray(), {}, 0, 0
    while at < len(data):
        key = data[at:at + NEAR]
        best, source = 0, 0
        for place in reversed(places.get(key, ())):
            n = match_bytes(data, place, at)
            if n > best:
                best, source = n, place
        if best < NEAR:
            best = 1
        else:
            out += number(at - literal) + data[literal:at] + number(best) + number(at - source)
            literal = at + best
        # Places within long copies are those of what they were copied from.
        for i in range(at, at + min(best, 64)):
            known = places.setdefault(data[i:i + NEAR], [])
            known.append(i)
            if len(known) > DEPTH:
                del known[0]
        at += best
    return bytes(out + number(len(data) - literal) + data[literal:] + number(0))


def bytes_of(name, data):
    rows = (",".join(map(str, data[i:i + 24])) for i in range(0, len(data), 24))
    return f"const unsigned char {name}[] = {{\n" + ",\n".join(rows) + "};\n"


def main():
    if sys.argv[1] == "--text":
        for name, text in programs(pathlib.Path(sys.argv[3]).read_text()).items():
            (pathlib.Path(sys.argv[2]) / f"{name}.ptx").write_text(text)
        return
    found = programs(pathlib.Path(sys.argv[2]).read_text()) if len(sys.argv) > 2 else {}
    # Kernels for the two data types beside each other: they have most of their text in common.
    names = sorted(found, key=lambda name: name.replace("_bf16_", "_f16_"))
    text = "".join(found[name] for name in names).encode()
    out = '/* Made by tools/opencl_ptx.py. */\n#include "backends/opencl/nvidia/nvidia.h"\n\n'
    out += bytes_of("skv_nvidia_packed", pack(text)) + f"const size_t skv_nvidia_bytes = {len(text)};\n"
    out += "const struct skv_nvidia_program skv_nvidia_programs[] = {\n"
    offset = 0
    for name in names:
        n = len(found[name].encode())
        out += f'    {{"{name}", {offset}, {n}}},\n'
        offset += n
    pathlib.Path(sys.argv[1]).write_text(out + "    {0, 0, 0}};\n")


if __name__ == "__main__":
    main()
