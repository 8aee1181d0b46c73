# SPDX-License-Identifier: Apache-2.0
"""What the attention kernels of HIP alone spend on a channel in the long run, by interpreting them."""

import re

from attention import Problem
from launches import C, Device, Machine

WAITS = re.compile(r"s_(waitcnt|wait_|nop|delay_alu|clause)")


def matrix_kernels(path):
    """[(kernel, head_dim, dtype, query rows)] of a code object; of dot products, 1 or 4 rows."""
    pattern = re.compile(r"skv_kernel_attend_(?:dot_)?w\d+_d(\d+)_(?:m(\d+)_)?(b?f16)")
    found = (pattern.fullmatch(name) for name in sorted(Machine(path).code.kernels))
    return [(match[0], int(match[1]), C[f"SKV_{match[3].upper()}"], int(match[2] or C["SKV_HIP_TILE"]))
            for match in found if match]


def per_channel(path, kernel, head_dim, dtype, rows):
    """Instructions of a lane for each channel that it expands: (all, all but waits, of vectors): the difference between
    a short and a long cache, of which 40 of 128 channels survive."""
    runs = []
    chunk, waves = C["SKV_HIP_TILE"], C["SKV_HIP_WAVES"]
    for n_chunks in (3, 5):
        device = Device(path)
        counted = device.machine.program(kernel).count()
        device.attend_matrix(Problem(1, dtype, [n_chunks * chunk * waves], [0], head_dim=head_dim,
                                     kept=head_dim * 5 // 16, group=min(rows, 4), n_kv_heads=1,
                                     q_dtype=dtype), rows)
        runs.append(counted())
    channels = 2 * waves * 2 * chunk * head_dim / device.machine.lanes
    more = {name: n - runs[0][name] for name, n in runs[1].items()}
    chosen = (lambda name: True, lambda name: not WAITS.match(name), lambda name: not name.startswith("s_"))
    return tuple(sum(n for name, n in more.items() if choose(name)) / channels for choose in chosen)
