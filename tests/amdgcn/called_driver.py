# SPDX-License-Identifier: Apache-2.0
"""A HIP driver whose devices are interpreters, one for each target that the library has code for.

called_hip.c carries the backend's calls here. A device's memory has addresses that only the interpreter knows; work is
done when it is enqueued."""

import ctypes
import re
import sys
import traceback
from pathlib import Path

import numpy as np

import toolchain
from code_object import generation
from machine import Machine
from memory import POISON_BYTE, Memory

sys.path.insert(0, str(toolchain.ROOT / "tools"))
from bundle import DEVICE, MAGIC, read_bundle  # noqa: E402

OK, INVALID_VALUE, NOT_FOUND, UNKNOWN = 0, 1, 500, 999
GROUP_BYTES = 64 << 10
TO_DEVICE, TO_HOST, WITHIN_DEVICE = 1, 2, 3
HEADER_MAX = 4096
ARCHITECTURE_AT = 1160

pointer, size_t, uint = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint
integers, pointers = ctypes.POINTER(ctypes.c_int), ctypes.POINTER(pointer)
SIGNATURES = {
    "hipInit": [uint], "hipRuntimeGetVersion": [integers], "hipGetDeviceCount": [integers], "hipGetDevice": [integers],
    "hipSetDevice": [ctypes.c_int], "hipDeviceGetName": [pointer, ctypes.c_int, ctypes.c_int],
    "hipDeviceTotalMem": [ctypes.POINTER(size_t), ctypes.c_int],
    "hipDeviceGetAttribute": [integers, ctypes.c_int, ctypes.c_int],
    "hipGetDevicePropertiesR0600": [pointer, ctypes.c_int], "hipModuleLoadData": [pointers, pointer],
    "hipModuleUnload": [pointer], "hipModuleGetFunction": [pointers, pointer, ctypes.c_char_p],
    "hipModuleLaunchKernel": [pointer] + [uint] * 7 + [pointer, pointers, pointer],
    "hipMalloc": [pointers, size_t], "hipFree": [pointer],
    "hipMemcpyAsync": [pointer, pointer, size_t, ctypes.c_int, pointer],
    "hipMemsetAsync": [pointer, ctypes.c_int, size_t, pointer], "hipStreamCreateWithFlags": [pointers, uint],
    "hipStreamDestroy": [pointer], "hipStreamSynchronize": [pointer],
}


class Device:
    def __init__(self, target):
        self.target, self.memory = target, Memory()

    def place(self, address, n_bytes):
        """The bytes of a range, which must lie in one buffer."""
        buffer = self.memory.buffers[(address - self.memory.buffers[0].base) >> 36]
        at = address - buffer.base
        assert at + n_bytes <= buffer.size, f"{n_bytes} bytes at {at} of {buffer.name}, which has {buffer.size}"
        return buffer.u8[at:at + n_bytes]


class Driver:
    """The functions, each by its own name, and what they work on."""

    def __init__(self, targets, folder):
        self.folder, self.current, self.n_launches = Path(folder), 0, 0
        self.devices = [Device(target) for target in targets]
        self.machines, self.functions = [], []

    def give_to(self, library):
        """Makes them those of called_hip.c, in the order of its structure."""
        header = (toolchain.ROOT / "backends" / "hip" / "hip.h").read_text(encoding="ascii")
        names = re.findall(r"X\((hip\w+),", header)
        self.kept = {name: ctypes.CFUNCTYPE(ctypes.c_int, *signature)(self._caught(getattr(self, name)))
                     for name, signature in SIGNATURES.items()}
        table = (pointer * (len(names) + 1))(*[ctypes.cast(self.kept[name], pointer) if name in self.kept else None
                                               for name in names])
        library.skv_called_hip(table)

    @staticmethod
    def _caught(function):
        def call(*arguments):
            try:
                return function(*arguments) or OK
            except Exception:  # pylint: disable=broad-except
                traceback.print_exc()
                return UNKNOWN
        return call

    # ---- devices

    def hipInit(self, flags):
        pass

    def hipRuntimeGetVersion(self, version):
        version[0] = 60300000

    def hipGetDeviceCount(self, count):
        count[0] = len(self.devices)

    def hipGetDevice(self, device):
        device[0] = self.current

    def hipSetDevice(self, device):
        self.current = device

    def hipDeviceGetName(self, name, n_bytes, device):
        ctypes.memmove(name, b"Interpreter\0", 12)

    def hipDeviceTotalMem(self, n_bytes, device):
        n_bytes[0] = 1 << 34

    def hipDeviceGetAttribute(self, value, attribute, device):
        target = self.devices[device].target
        known = {23: generation(target), 61: int(target[-2]), 63: 2, 74: GROUP_BYTES,
                 87: 32 if generation(target) >= 10 else 64}
        if attribute not in known:
            return INVALID_VALUE
        value[0] = known[attribute]

    def hipGetDevicePropertiesR0600(self, properties, device):
        text = self.devices[device].target.encode() + b"\0"
        ctypes.memmove(properties + ARCHITECTURE_AT, text, len(text))

    # ---- modules and kernels

    def hipModuleLoadData(self, module, image):
        table = ctypes.string_at(image, HEADER_MAX)
        assert table.startswith(MAGIC)
        end = max(int.from_bytes(table[at:at + 8], "little") + int.from_bytes(table[at + 8:at + 16], "little")
                  for at in self._entries(table))
        device = self.devices[self.current]
        code = dict(read_bundle(ctypes.string_at(image, end)))[DEVICE + device.target]
        path = self.folder / f"{device.target}.o"
        path.write_bytes(code)
        machine = Machine(path)
        machine.memory = device.memory
        self.machines.append(machine)
        module[0] = len(self.machines)

    @staticmethod
    def _entries(table):
        """Where each entry of a bundle's table starts."""
        at = len(MAGIC) + 8
        for _ in range(int.from_bytes(table[at - 8:at], "little")):
            yield at
            at += 24 + int.from_bytes(table[at + 16:at + 24], "little")

    def hipModuleUnload(self, module):
        self.machines[module - 1] = None

    def hipModuleGetFunction(self, function, module, name):
        machine = self.machines[module - 1]
        if name.decode() not in machine.code.kernels:
            return NOT_FOUND
        self.functions.append((machine, name.decode()))
        function[0] = len(self.functions)

    def hipModuleLaunchKernel(self, function, x, y, z, lanes, lanes_y, lanes_z, scratch_bytes, stream, arguments,
                              extra):
        machine, name = self.functions[function - 1]
        assert (lanes_y, lanes_z, extra) == (1, 1, None) and machine.memory is self.devices[self.current].memory
        sizes = [row[".size"] for row in machine.code.kernels[name][".args"]
                 if not row[".value_kind"].startswith("hidden_")]
        machine.launch(name, (x, y, z), lanes,
                       [ctypes.string_at(arguments[i], size) for i, size in enumerate(sizes)], scratch_bytes)
        self.n_launches += 1

    # ---- memory and streams

    def hipMalloc(self, at, n_bytes):
        at[0] = self.devices[self.current].memory.add("memory", np.full(n_bytes, POISON_BYTE, np.uint8))

    def hipFree(self, at):
        self.devices[self.current].memory.bytes_of(at)[:] = POISON_BYTE

    def hipMemcpyAsync(self, to, start, n_bytes, kind, stream):
        device = self.devices[self.current]
        if kind == TO_DEVICE:
            device.place(to, n_bytes)[:] = np.frombuffer(ctypes.string_at(start, n_bytes), np.uint8)
        elif kind == TO_HOST:
            ctypes.memmove(to, device.place(start, n_bytes).tobytes(), n_bytes)
        else:
            device.place(to, n_bytes)[:] = device.place(start, n_bytes).copy()

    def hipMemsetAsync(self, to, value, n_bytes, stream):
        self.devices[self.current].place(to, n_bytes)[:] = value

    def hipStreamCreateWithFlags(self, stream, flags):
        stream[0] = 1

    def hipStreamDestroy(self, stream):
        pass

    def hipStreamSynchronize(self, stream):
        pass
