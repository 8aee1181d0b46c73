#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the shared kernels as AMD machine code, without AMD hardware.

run_tests.py [--targets gfx90a,gfx1100] [--built FOLDER] [--require] [-k NAME] [-v]
Ends with 77, which is "skipped", where a tool is missing; with --require that is a failure."""

import argparse
import sys
import unittest

SKIPPED = 77
DEFAULT = "gfx90a,gfx1100"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", default=DEFAULT, help=f"or all; the default is {DEFAULT}")
    parser.add_argument("--built", help="a folder of kernels-gfx90a.o and so on, of these sources")
    parser.add_argument("--require", action="store_true", help="fail where tests would be skipped or left out")
    parser.add_argument("-k", dest="pattern", default="", help="tests whose names contain this")
    parser.add_argument("-v", dest="verbose", action="store_true")
    options = parser.parse_args()
    skipped = 1 if options.require else SKIPPED
    try:
        import numpy  # noqa: F401
    except ImportError:
        print("skipped: no numpy for", sys.executable)
        return skipped
    import support
    import toolchain
    wanted = toolchain.TARGETS if options.targets == "all" else options.targets.split(",")
    try:
        unknown = support.prepare(wanted, options.built)
    except toolchain.Missing as missing:
        print("skipped:", missing)
        return skipped
    if unknown:
        print("left out, unknown to this clang:", ", ".join(unknown))
    if not support.targets or (unknown and options.require):
        print("skipped: targets are missing")
        return skipped
    import test_attend
    import test_rows
    import test_tool
    import test_words
    suite = support.load([test_words, test_rows, test_attend, test_tool])
    if options.pattern:
        suite = unittest.TestSuite(test for test in suite if options.pattern in test.id())
    result = unittest.TextTestRunner(sys.stdout, verbosity=2 if options.verbose else 1).run(suite)
    return 0 if result.wasSuccessful() and result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main())
