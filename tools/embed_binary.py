#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""embed_binary.py SYMBOL OUT.c IN: a C file that carries a file as it is, between SYMBOL and SYMBOL_end.

With "-" as IN it carries the word "none"."""
import pathlib
import sys


def main():
    symbol, out, source = sys.argv[1:4]
    data = '.ascii "none"' if source == "-" else f'.incbin "{pathlib.Path(source).resolve()}"'
    lines = [".section .rodata", ".balign 64", f".hidden {symbol}", f".hidden {symbol}_end", f".global {symbol}",
             f".global {symbol}_end", f"{symbol}:", data, f"{symbol}_end:", ".byte 0", ".text"]
    text = "\n".join('        "%s\\n"' % line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    pathlib.Path(out).write_text(f"/* Made by tools/embed_binary.py. */\n__asm__(\n{text});\n")


if __name__ == "__main__":
    main()
