# SPDX-License-Identifier: Apache-2.0
"""Code objects of the tests' targets, compiled once, and a test class for each target."""

import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import toolchain

HERE = Path(__file__).resolve().parent
SOURCES = {"kernels": toolchain.KERNELS, "words": HERE / "kernels" / "words.hip",
           "matrices": HERE / "kernels" / "matrices.hip"}

targets = []
_folder = None


def prepare(wanted, built=None):
    """Compiles what the folder `built` does not have; returns the targets that this clang does not know."""
    global _folder
    _folder = tempfile.TemporaryDirectory()
    tools = toolchain.tool_folder()
    targets[:] = [target for target in wanted if toolchain.knows(tools, target)]
    with ThreadPoolExecutor(2) as pool:
        jobs = []
        for name, source in SOURCES.items():
            for target in targets:
                found = Path(built or "", f"{name}-{target}.o")
                if built and found.exists():
                    path_of(name, target).symlink_to(found.resolve())
                else:
                    jobs.append(pool.submit(toolchain.compile_hip, source, target, path_of(name, target)))
        for job in jobs:
            job.result()
    return [target for target in wanted if target not in targets]


def path_of(name, target):
    return Path(_folder.name) / f"{name}-{target}.o"


def folder():
    return Path(_folder.name)


class TargetCase(unittest.TestCase):
    """Its tests run once for each target."""

    target = None

    def path(self, name):
        return path_of(name, self.target)


def load(modules):
    """All tests of the modules, a TargetCase's for each target."""
    suite, loader = unittest.TestSuite(), unittest.TestLoader()
    for module in modules:
        for case in list(vars(module).values()):
            if not (isinstance(case, type) and issubclass(case, unittest.TestCase)) or case is TargetCase:
                continue
            for target in targets if issubclass(case, TargetCase) else [None]:
                made = type(f"{case.__name__}_{target}", (case,), {"target": target}) if target else case
                suite.addTests(loader.loadTestsFromTestCase(made))
    return suite
