# SPDX-License-Identifier: Apache-2.0
"""The compiler and the disassembler: LLVM's, of the newest version here that knows AMD's GPUs."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("gfx906", "gfx90a", "gfx942", "gfx950", "gfx1030", "gfx1100", "gfx1201")
KERNELS = ROOT / "backends" / "hip" / "kernels" / "kernels.hip"
# Without ROCm: kernels bring what they use.
FLAGS = ("-x", "hip", "--cuda-device-only", "--no-gpu-bundle-output", "-nogpulib", "-nogpuinc", "-std=c++17", "-O3",
         "-mcode-object-version=5", "-Wall", "-Wextra", "-Werror")


class Missing(Exception):
    """What this machine lacks."""


def _version(folder: Path) -> int:
    found = re.search(r"llvm-(\d+)", str(folder))
    return int(found.group(1)) if found else 0


def tool_folder() -> Path:
    """The newest LLVM's bin folder with clang, lld and llvm-objdump."""
    folders = sorted(Path("/usr/lib").glob("llvm-*/bin"), key=_version, reverse=True) + [Path("/opt/rocm/llvm/bin")]
    for folder in folders:
        if _version(folder) >= 15 or folder.parts[1] == "opt":
            if all((folder / tool).exists() for tool in ("clang", "lld", "llvm-objdump")):
                return folder
    raise Missing("no LLVM from version 15 on with clang, lld and llvm-objdump (Debian: clang-19 lld-19 llvm-19)")


def knows(folder: Path, target: str) -> bool:
    """Whether this clang compiles for a target; gfx942 came with 18, gfx1201 with 19, gfx950 after it."""
    command = [folder / "clang", "-target", "amdgcn-amd-amdhsa", f"-mcpu={target}", "-nogpulib", "-x", "c", "-c", "-",
               "-o", "/dev/null"]
    result = subprocess.run(command, input="", text=True, capture_output=True, check=False)
    return result.returncode == 0


def compile_hip(source: Path, target: str, out: Path, *options: str) -> Path:
    command = [tool_folder() / "clang", *FLAGS, f"--offload-arch={target}", "-I", ROOT, "-I", ROOT / "include",
               *options, source, "-o", out]
    result = subprocess.run(command, text=True, capture_output=True, check=False)
    if result.returncode:
        raise RuntimeError(f"clang for {target}: {result.stderr}")
    return out


def disassemble(path: Path, target: str, symbol: str) -> list:
    """[(address, bytes, text)] of one function."""
    command = [tool_folder() / "llvm-objdump", "-d", f"--mcpu={target}", f"--disassemble-symbols={symbol}", path]
    text = subprocess.run(command, text=True, capture_output=True, check=True).stdout
    found = []
    for line in text.splitlines():
        match = re.match(r"\t(\S.*?)\s*// ([0-9A-F]+): ((?:[0-9A-F]{8} ?)+)", line)
        if match:
            found.append((int(match[2], 16), 4 * len(match[3].split()), match[1]))
    if not found:
        raise ValueError(f"{path}: no function {symbol}")
    return found
