# SPDX-License-Identifier: Apache-2.0
"""Finds the scripts under bench/ and the built tool."""

import os
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
# The tool that was built; without it, what needs it is skipped.
SKV = os.environ.get("SKV_TOOL", "")


class Case(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
