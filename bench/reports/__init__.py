# SPDX-License-Identifier: Apache-2.0
"""Reports made of what `skv bench --json FILE` measured."""
