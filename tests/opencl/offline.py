#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""offline.py [PTX]: the OpenCL kernels compiled for devices that are not here, as a driver would compile them.

As OpenCL C 1.2 for AMD targets, linked with AMD's device libraries, and for NVIDIA, whose PTX goes through ptxas where
there is one; and some of the programs that tools/opencl_ptx.py makes of nvcc's PTX, through ptxas. What lacks a tool is
left out with a line. Exit status 1 when a compiler refuses something, or when nothing could be compiled."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = ["backends/opencl/kernels/language.cl", "core/format.h", "backends/gpu/params.h",
         *(f"backends/gpu/kernels/{name}.h" for name in ("common", "select", "rows", "merge", "attend_rows", "attend")),
         "backends/opencl/kernels/select_serial.cl"]
# Wave64, with newer matrix units, and wave32 of two generations.
AMD = ["gfx90a", "gfx942", "gfx1030", "gfx1201"]
NVIDIA = ["sm_80"]
# Of the programs for NVIDIA: each costs a second.
PROGRAMS = ["compress_rows", "decompress_rows_256", "attend_d128_m4_f16_s96_a4", "attend_d256_m4_bf16_x_a1"]


def find(*names):
    return next((path for path in map(shutil.which, names) if path), None)


def enumerators():
    """The definitions that backends/opencl/program.c passes, by the headers' values."""
    wanted = re.findall(r"-D(SKV_\w+)=%d", (ROOT / "backends/opencl/program.c").read_text())
    headers = "".join((ROOT / f"include/skv/{name}.h").read_text() for name in ("base", "layout", "ops"))
    values = dict(re.findall(r"\b(SKV_\w+) = (\d+)", headers))
    return [f"-D{name}={values[name]}" for name in wanted]


def programs():
    """Name -> options."""
    found = {"rows": ["-DSKV_ROWS"]}
    for d, m, bf16 in ((80, 1, 1), (128, 4, 0)):
        found[f"attend.d{d}.m{m}"] = ["-DATTEND=skv_attend", f"-DHEAD_DIM={d}", "-DHEAD_DIM_MAX=HEAD_DIM", "-DTILE=32",
                                      "-DLANES=128", f"-DM={m}", f"-DBF16={bf16}"]
    return found


class Matrix:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.source = self.folder / "kernels.cl"
        self.source.write_text("\n".join((ROOT / name).read_text() for name in FILES))
        self.n_done = self.n_failed = 0

    def run(self, what, *command):
        done = subprocess.run(command, capture_output=True, text=True)
        # A warning is one in a user's build log.
        failed = done.returncode != 0 or "warning:" in done.stderr
        self.n_done += 1
        self.n_failed += failed
        if failed:
            print(f"FAIL  {what}: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}"[:4000])
        return not failed

    def compile(self, what, clang, options, *more):
        return self.run(what, clang, "-x", "cl", "-cl-std=CL1.2", "-D__OPENCL_VERSION__=120", "-O3", "-Wall",
                        "-Wno-unused-function", *enumerators(), *options, *more, self.source)

    def amd(self, clang, libraries):
        for target in AMD:
            link = ["--rocm-path=/usr", f"--rocm-device-lib-path={libraries}"]
            # Libraries older than the target do not know it: then without linking.
            if not (libraries / f"oclc_isa_version_{target[3:]}.bc").exists():
                link = ["-nogpulib", "-c"]
            for name, options in programs().items():
                self.compile(f"{target} {name}", clang, options, "-target", "amdgcn-amd-amdhsa", f"-mcpu={target}",
                             "-mcode-object-version=5", *link, "-o", self.folder / "out.co")

    def nvidia(self, clang, library, ptxas):
        link = ["-Xclang", "-target-feature", "-Xclang", "+ptx78"]
        if library:
            link += ["-Wno-linker-warnings", "-Xclang", "-mlink-builtin-bitcode", "-Xclang", library]
        for target in NVIDIA:
            for name, options in programs().items():
                text = self.folder / "out.ptx"
                made = self.compile(f"{target} {name}", clang, options, "-target", "nvptx64-nvidia-nvcl", "-Xclang",
                                    "-target-cpu", "-Xclang", target, *link, "-S", "-o", text)
                if made and library and ptxas:
                    self.run(f"{target} {name} ptxas", ptxas, f"-arch={target}", text, "-o", self.folder / "out.cubin")

    def ptx(self, text, ptxas):
        binary = self.folder / "out.cubin"
        self.run("opencl_ptx.py", sys.executable, ROOT / "tools/opencl_ptx.py", "--text", self.folder, text)
        for name in PROGRAMS:
            self.run(name, ptxas, "-arch=sm_90", self.folder / f"skv_kernel_{name}.ptx", "-o", binary)


def part(matrix, what, missing, function, *arguments):
    if missing:
        print(f"left out: {what} ({missing} not found)")
        return
    start, before = time.monotonic(), matrix.n_done
    function(*arguments)
    print(f"{what}: {matrix.n_done - before} compiled, {time.monotonic() - start:.1f} s")


def main():
    clang = find("clang-19", "clang-20", "clang-21", "clang")
    ptxas = find("ptxas", "/usr/local/cuda/bin/ptxas")
    libraries = next((path.parent for path in pathlib.Path("/usr/lib").glob("*/amdgcn/bitcode/opencl.bc")), None)
    library = next(iter(pathlib.Path("/usr/lib/clc").glob("nvptx64--nvidiacl.bc")), None)
    text = sys.argv[1] if len(sys.argv) > 1 and pathlib.Path(sys.argv[1]).exists() else None
    with tempfile.TemporaryDirectory() as folder:
        matrix = Matrix(folder)
        part(matrix, "OpenCL C for AMD", None if clang and libraries else "clang or rocm-device-libs", matrix.amd,
             clang, libraries)
        part(matrix, "OpenCL C for NVIDIA", None if clang else "clang", matrix.nvidia, clang, library, ptxas)
        if not (library and ptxas):
            print("left out: ptxas for that (libclc or ptxas not found)")
        part(matrix, "PTX for NVIDIA", None if text and ptxas else "nvcc's PTX or ptxas", matrix.ptx, text, ptxas)
    print(f"{matrix.n_done} compiled, {matrix.n_failed} failed")
    sys.exit(matrix.n_failed > 0 or matrix.n_done == 0)


if __name__ == "__main__":
    main()
