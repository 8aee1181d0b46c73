#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shapes and presets, which skv bench and bench/peers.py must understand alike."""

import unittest

from support import Case

import cases


class Data(Case):
    def setUp(self) -> None:
        super().setUp()
        self.models, self.presets = (cases.load(cases.SHAPES, of) for of in ("models", "presets"))

    def test_models_are_what_the_kernels_take(self) -> None:
        for name, model in self.models.items():
            with self.subTest(name):
                self.assertEqual(model["n_q_heads"] % model["n_kv_heads"], 0)
                self.assertEqual(model["head_dim"] % 8, 0)
                self.assertLessEqual(model["head_dim"], 512)
                self.assertGreater(min(model["n_layers"], model["max_tokens"]), 0)
                self.assertRegex(name, r"^[a-z0-9.-]+$")

    def test_presets_hold_shapes(self) -> None:
        self.assertEqual(list(self.presets), ["quick", "standard", "models", "full"])
        for name, preset in self.presets.items():
            with self.subTest(name):
                shapes = [cases.parse_shape(text, self.models) for text in cases.preset_shapes(preset)]
                self.assertEqual(len({shape.name for shape in shapes}), len(shapes))
                self.assertGreater(len(shapes), 0)

    def test_the_models_preset_has_all_models(self) -> None:
        named = {text.split(":")[0] for text in cases.preset_shapes(self.presets["models"])}
        self.assertEqual(named, set(self.models))

    def test_one_shape_has_one_name(self) -> None:
        for text in ("llama-3.1-8b:2x8k", "llama-3.1-8b:2x8192"):
            self.assertEqual(cases.parse_shape(text, self.models).name, "llama-3.1-8b:2x8k")
        self.assertEqual(cases.parse_shape("llama-3.1-8b:2x100", self.models).name, "llama-3.1-8b:2x100")
        self.assertEqual(cases.parse_shape("1/8/2/2k/64", self.models).numbers, (1, 8, 2, 2048, 64))

    def test_what_is_no_shape(self) -> None:
        for text in ("", "x", "llama-3.1-8b", "llama-3.1-8b:", "llama-3.1-8b:0x8k", "llama-3.1-8b:1x", "other:1x8k",
                     "1/8/8/64", "1/8/3/64/64", "1/8/8/-1/64", "1/8/8/64/64/1", "llama-3.1-8b:1x8kk"):
            with self.subTest(text), self.assertRaises(cases.Refused) as refused:
                cases.parse_shape(text, self.models)
            self.assertIn("llama-2-7b", str(refused.exception))

    def test_files_that_are_wrong(self) -> None:
        with self.assertRaises(cases.Refused):
            cases.load(self.folder, "models")
        for content in ("{", "[]", '{"models": [{}]}', '{"models": 3}'):
            (self.folder / "models.json").write_text(content)
            with self.subTest(content), self.assertRaises(cases.Refused):
                cases.load(self.folder, "models")

    def test_quartiles(self) -> None:
        self.assertEqual(cases.ratio([5, 1, 2, 4, 3]), {"median": 3, "lower_quartile": 2, "upper_quartile": 4})


if __name__ == "__main__":
    unittest.main()
