# SPDX-License-Identifier: Apache-2.0
"""The kernels' parameters as ctypes structures, and constants, read from the project's own headers."""

import ctypes
import re

from toolchain import ROOT

PARAMS = ("backends/gpu/params.h", "backends/hip/params.h")
SCALARS = {"skv_u32": ctypes.c_uint32, "skv_u64": ctypes.c_uint64, "float": ctypes.c_float}


def _text(path):
    return re.sub(r"/\*.*?\*/", "", (ROOT / path).read_text(), flags=re.S)


def _constants():
    found = {}
    for path in ("include/skv/base.h", "include/skv/layout.h", "include/skv/ops.h"):
        found |= {name: int(value) for name, value in re.findall(r"\b(SKV_\w+) = (\d+)", _text(path))}
    for path in PARAMS:
        for name, value in re.findall(r"#define (SKV_\w+) (\w+)\n", _text(path)):
            found[name] = found[value] if value in found else int(value.rstrip("u"), 0)
    return found


CONSTANTS = _constants()


def _structures():
    found = {}
    text = "".join(_text(path) for path in PARAMS)
    for name, body in re.findall(r"struct (skv_\w+) \{(.*?)\n\};", text, re.S):
        fields = []
        for kind, names in re.findall(r"((?:struct )?\w+) ([^;]+);", body):
            kind = SCALARS.get(kind) or found[kind.split()[1]]
            for field in names.split(","):
                match = re.fullmatch(r"(\w+)(?:\[(\w+)\])?", field.strip())
                fields.append((match[1], kind * CONSTANTS[match[2]] if match[2] else kind))
        found[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
    return found


STRUCTURES = _structures()


def make(name, family="gpu", **values):
    """A structure of zeros but for these; nested ones are given as dictionaries."""
    made = STRUCTURES[f"skv_{family}_{name}"]()
    _set(made, values)
    return made


def _set(structure, values):
    for field, value in values.items():
        if isinstance(value, dict):
            _set(getattr(structure, field), value)
        elif isinstance(value, ctypes.Structure):
            setattr(structure, field, value)
        elif isinstance(value, list):
            for i, row in enumerate(value):
                _set(getattr(structure, field)[i], row)
        elif field not in dict(structure._fields_):
            raise AttributeError(f"{type(structure).__name__} has no {field}")
        else:
            setattr(structure, field, value)
