#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the shared kernels as AMD machine code, without AMD hardware.

run_tests.py [--targets gfx90a,gfx1100] [-k NAME] [-v]
Ends with 77, which is "skipped", where a tool is missing."""

import argparse
import sys
import unittest

SKIPPED = 77
DEFAULT = "gfx90a,gfx942,gfx1030,gfx1100"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", default=DEFAULT, help=f"or all; the default is {DEFAULT}")
    parser.add_argument("-k", dest="pattern", default="", help="tests whose names contain this")
    parser.add_argument("-v", dest="verbose", action="store_true")
    options = parser.parse_args()
    try:
        import numpy  # noqa: F401
    except ImportError:
        print("skipped: no numpy for", sys.executable)
        return SKIPPED
    import support
    import toolchain
    wanted = toolchain.TARGETS if options.targets == "all" else options.targets.split(",")
    try:
        unknown = support.prepare(wanted)
    except toolchain.Missing as missing:
        print("skipped:", missing)
        return SKIPPED
    if unknown:
        print("left out, unknown to this clang:", ", ".join(unknown))
    if not support.targets:
        print("skipped: no target is left")
        return SKIPPED
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
