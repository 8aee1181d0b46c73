# SPDX-License-Identifier: Apache-2.0
"""What tests stand on: instructions are all known, budgets and bundles are read and written right."""

import unittest

from machine import Machine
from support import TargetCase


class Instructions(TargetCase):
    def test_all_of_the_shared_kernels_are_known(self):
        """Those, too, that no test here runs."""
        machine = Machine(self.path("kernels"))
        for kernel in machine.code.kernels:
            self.assertEqual(machine.program(kernel).unknown(), [], f"{self.target} {kernel}")
