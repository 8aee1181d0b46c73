#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What AMD kernels take of the hardware, and whether anything spills: a Markdown table for docs.

budget.py [--allow sgpr-spills,reserved-scratch] [--most] CODE-OBJECT...
budget.py --loop CODE-OBJECT...

Ends with 1 where registers spill, private memory is read or written, or some is reserved. --allow lets pass spills of
scalars, which go to lanes of vector registers, and memory that is reserved but that no instruction uses. --most makes
one row for each target, of the largest numbers of its kernels. Kernels for matrix units and dot products must have
their instructions, and no group memory but what the host asks for, which they take to start at 0.

--loop, which needs numpy, interprets these kernels and prints what a channel costs in the long run."""

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "amdgcn"))

import toolchain  # noqa: E402
from code_object import CodeObject  # noqa: E402

ALLOWABLE = ("sgpr-spills", "reserved-scratch")
# Columns of the table that are counts of instructions.
COUNTED = {"matrix": r"v_(mfma|wmma|swmmac)_", "dot": r"v_(dual_)?dot\d", "group memory": r"ds_",
           "global loads": r"(global|flat)_load_", "of 16 bytes": r"(global|flat)_load_(dwordx4|b128)",
           "private memory": r"(scratch|buffer)_(load|store)_"}
REGISTERS = {"VGPR": ".vgpr_count", "AGPR": ".agpr_count", "SGPR": ".sgpr_count",
             "LDS": ".group_segment_fixed_size", "scratch": ".private_segment_fixed_size",
             "VGPR spills": ".vgpr_spill_count", "SGPR spills": ".sgpr_spill_count", "wave": ".wavefront_size"}


def rows_of(path):
    """(target, kernel, numbers by column) of each kernel of a code object."""
    code = CodeObject(path)
    for name, metadata in sorted(code.kernels.items()):
        start, size = code.symbols[name]
        mnemonics = [text.split()[0] for address, _, text in toolchain.disassemble(path, code.target, name)
                     if address < start + size and not text.startswith("s_code_end")]
        numbers = {column: metadata.get(key, 0) for column, key in REGISTERS.items()}
        numbers["instructions"] = len(mnemonics)
        for column, pattern in COUNTED.items():
            numbers[column] = sum(bool(re.match(pattern, mnemonic)) for mnemonic in mnemonics)
        yield code.target, name, numbers


def most_of(rows):
    """One row: the largest of each number."""
    most = {column: max(numbers[column] for _, _, numbers in rows) for column in rows[0][2]}
    return [(rows[0][0], f"{len(rows)} kernels", most)]


def complaints(numbers, allowed=()):
    """What a kernel must not have."""
    found = [f"{numbers[column]} {what}" for column, what in (
        ("VGPR spills", "vector registers spilled"), ("private memory", "accesses of private memory"))
             if numbers[column]]
    if numbers["SGPR spills"] and "sgpr-spills" not in allowed:
        found.append(f"{numbers['SGPR spills']} scalar registers spilled")
    if numbers["scratch"] and not (numbers["private memory"] == 0 and "reserved-scratch" in allowed):
        found.append(f"{numbers['scratch']} bytes of private memory reserved")
    return found


def matrix_complaints(name, numbers):
    """The same of kernels for matrix units and dot products."""
    if not re.search(r"_w\d+_", name):
        return []
    kind = "dot" if "_dot_" in name else "matrix"
    found = [] if numbers[kind] else [f"no {kind} instruction"]
    return found + ([f"{numbers['LDS']} bytes of group memory of its own"] if numbers["LDS"] else [])


def print_loops(paths):
    import loop  # pylint: disable=import-outside-toplevel
    print("| target | kernel | of vectors | and scalars | and waits |")
    print("|---|---|---:|---:|---:|")
    for path in paths:
        for kernel in loop.matrix_kernels(path):
            print(f"| {CodeObject(path).target} | {kernel[0]} |",
                  " | ".join(f"{n:.2f}" for n in reversed(loop.per_channel(path, *kernel))), "|")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--allow", default="", help=" or ".join(ALLOWABLE) + ", or both with a comma between")
    parser.add_argument("--most", action="store_true", help="the largest numbers of each target")
    parser.add_argument("--loop", action="store_true", help="instructions of a lane for a channel that it expands")
    parser.add_argument("paths", nargs="+", metavar="CODE-OBJECT")
    options = parser.parse_args()
    allowed = [name for name in options.allow.split(",") if name]
    if set(allowed) - set(ALLOWABLE):
        parser.error(f"--allow takes {', '.join(ALLOWABLE)}")
    if options.loop:
        print_loops(options.paths)
        return 0
    columns = [*REGISTERS, "instructions", *COUNTED]
    print("| target | kernel |", " | ".join(columns), "|")
    print("|---|---|" + "---:|" * len(columns))
    failures = []
    for path in options.paths:
        rows = list(rows_of(path))
        for target, name, numbers in most_of(rows) if options.most else rows:
            print(f"| {target} | {name} |", " | ".join(str(numbers[column]) for column in columns), "|")
        for target, name, numbers in rows:
            failures += [f"{target} {name}: {text}"
                         for text in complaints(numbers, allowed) + matrix_complaints(name, numbers)]
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
