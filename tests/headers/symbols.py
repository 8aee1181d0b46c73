#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks what the shared library shows and needs.

Exported symbols must be exactly the functions that the public headers declare with SKV_API, and the library must need
nothing but libc, libm and small CPU helpers: no driver, no vendor library.
"""

import pathlib
import re
import subprocess
import sys

ALLOWED = re.compile(r"^(libc|libm|libpthread|libpthreadpool|libdl|libcpuinfo|ld-linux.*|lib[aut]san|libubsan)\.so")


def declared(folder: pathlib.Path) -> set[str]:
    """Names behind SKV_API in the headers."""
    names: set[str] = set()
    for header in folder.glob("*.h"):
        names |= set(re.findall(r"^SKV_API\b[^;(]*?\b(skv_\w+)\s*\(", header.read_text(encoding="utf-8"), re.MULTILINE))
    return names


def exported(library: str) -> set[str]:
    """Defined dynamic symbols."""
    output = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1].split("@")[0] for line in output.splitlines() if line.strip()}


def needed(library: str) -> list[str]:
    """The NEEDED entries."""
    output = subprocess.run(["readelf", "-d", library], check=True, capture_output=True, text=True).stdout
    return re.findall(r"\(NEEDED\).*\[(.*)\]", output)


def main() -> int:
    library, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    want, got = declared(folder), exported(library)
    sanitizer = {name for name in got if name.startswith(("__asan", "__ubsan", "__tsan", "__odr"))}
    problems = [f"declared but not exported: {name}" for name in sorted(want - got)]
    problems += [f"exported but not declared: {name}" for name in sorted(got - want - sanitizer)]
    problems += [f"needs {name}" for name in needed(library) if not ALLOWED.match(name)]
    if len(want) < 30:
        problems.append(f"only {len(want)} declarations found; the pattern no longer fits the headers")
    for problem in problems:
        print(problem)
    print(f"{len(want)} functions, needs {', '.join(needed(library))}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
