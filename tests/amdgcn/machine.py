# SPDX-License-Identifier: Apache-2.0
"""Launches kernels of a code object and runs their waves, one instruction after the other.

A wave runs until it ends, meets a barrier or has used up its slice; the schedule says which goes on. Memory is never
late and never out of order: waits and fences are not tested. Instructions are made from text when they are first met.
"""

import random
import struct

import numpy as np

import instructions_float
import instructions_matrix
import instructions_memory
import instructions_scalar
import instructions_vector
import operands
import toolchain
from code_object import CodeObject, finds_private_memory, generation, packs_lane_ids
from decode import Instruction, Unknown
from memory import POISON_BYTE, POISON_WORD, Bytes, GroupMemory, Memory
from wave import MASK32, TRAP_TEMPORARIES, Wave

BARRIER, END = instructions_scalar.BARRIER, instructions_scalar.END
TABLE = {**instructions_scalar.TABLE, **instructions_vector.TABLE, **instructions_float.TABLE,
         **instructions_memory.TABLE, **instructions_matrix.TABLE}
INSTRUCTIONS_MAX = 50_000_000


class MachineError(Exception):
    """What went wrong, with the target, the kernel, the address and the instruction."""


def pair(first, second):
    """Both halves of a v_dual_* instruction: each reads before the other writes."""
    run_first, run_second = build(first), build(second)
    written = operands.vector_index(first.operands[0])
    sources = [operands.vector_index(text.strip("-|")) for text in second.operands[1:]]
    if second.mnemonic in ("v_fmac_f32", "v_dot2acc_f32_f16"):
        sources.append(operands.vector_index(second.operands[0]))
    if written not in sources:
        def run(w):
            run_first(w)
            run_second(w)
        return run

    def run_apart(w):
        before = w.u[written].copy()
        run_first(w)
        after = w.u[written].copy()
        w.u[written][:] = before
        run_second(w)
        w.u[written][:] = after
    return run_apart


def build(instruction):
    if instruction.pair:
        return pair(*instruction.pair)
    if instruction.mnemonic not in TABLE:
        raise Unknown(f"unknown instruction {instruction.mnemonic}")
    return TABLE[instruction.mnemonic](instruction)


class Program:
    """A kernel's instructions in order; code[i] runs one, and makes itself at its first run."""

    def __init__(self, code_object, symbol):
        self.target = code_object.target
        self.lanes = code_object.kernels[symbol][".wavefront_size"]
        self.lines = toolchain.disassemble(code_object.path, self.target, symbol)
        self.index = {address: i for i, (address, _, _) in enumerate(self.lines)}
        self.code = [self._maker(i) for i in range(len(self.lines))]
        self.met = set()
        self.counts = None

    def instruction(self, i):
        address, size, text = self.lines[i]
        return Instruction(text, address, size, self.target, self.lanes)

    def _maker(self, i):
        def make(w):
            instruction = self.instruction(i)
            self.met.update(part.mnemonic for part in instruction.pair or (instruction,))
            self.code[i] = build(instruction) if self.counts is None else self._counted(i, build(instruction))
            return self.code[i](w)
        return make

    def count(self):
        """From the start on: how often each mnemonic was run, which is asked for when all is done."""
        self.counts = [0] * len(self.lines)

        def counted():
            found = {}
            for n, (_, _, text) in zip(self.counts, self.lines):
                mnemonic = text.split()[0]
                found[mnemonic] = found.get(mnemonic, 0) + n
            return found
        return counted

    def _counted(self, i, run):
        def counting(w):
            self.counts[i] += 1
            return run(w)
        return counting

    def unknown(self):
        """Instructions that no table has, of all that the kernel could meet."""
        return sorted({part.mnemonic for i in range(len(self.lines)) for instruction in [self.instruction(i)]
                       for part in instruction.pair or (instruction,) if part.mnemonic not in TABLE})


class Group:
    def __init__(self, machine, ids, lds_bytes):
        self.machine, self.ids = machine, ids
        self.lds = GroupMemory(lds_bytes)


class Machine:
    """memory: add buffers there, then launch. schedule: "forward", "reverse", or a seed to mix waves and slices."""

    def __init__(self, path, schedule="forward"):
        self.code = CodeObject(path)
        self.target = self.code.target
        self.lanes = next(iter(self.code.kernels.values()))[".wavefront_size"]
        self.memory = Memory()
        self.schedule = schedule
        self.programs = {}
        self.n_instructions = 0
        self.code_base = self.memory.add("the code object", bytes(self.code.image), writable=False)

    def program(self, kernel):
        if kernel not in self.programs:
            self.programs[kernel] = Program(self.code, kernel)
        return self.programs[kernel]

    def launch(self, kernel, groups, lanes, arguments, scratch_bytes=0):
        """groups: (x, y, z). arguments: an address (int) for each buffer, bytes for what goes by value."""
        metadata, descriptor = self.code.kernels[kernel], self.code.descriptor(kernel)
        if not descriptor.keeps_subnormals:
            raise MachineError(f"{self.target} {kernel}: drops subnormals, which is not supported")
        program = self.program(kernel)
        kernarg = self._kernarg(metadata, groups, lanes, arguments, scratch_bytes)
        packet = struct.pack("<HHHHHHIIIIIQQQQ", 0, 3, lanes, 1, 1, 0, groups[0] * lanes, groups[1], groups[2], 0, 0, 0,
                             kernarg, 0, 0)
        start = self._start_registers(descriptor, kernarg, self.memory.add("the dispatch packet", packet, False))
        first = program.index[descriptor.entry + (256 if descriptor.preload & 127 else 0)]
        lds_bytes = metadata[".group_segment_fixed_size"] + scratch_bytes
        with np.errstate(all="ignore"):
            for z in range(groups[2]):
                for y in range(groups[1]):
                    for x in range(groups[0]):
                        group = Group(self, (x, y, z), lds_bytes)
                        waves = [self._wave(group, descriptor, metadata, start, at, lanes, first)
                                 for at in range(0, lanes, self.lanes)]
                        self._run_group(kernel, program, waves)

    def _kernarg(self, metadata, groups, lanes, arguments, scratch_bytes):
        data = bytearray(metadata[".kernarg_segment_size"])
        given = iter(arguments)
        hidden = {"hidden_grid_dims": 3 if groups[2] > 1 else 2 if groups[1] > 1 else 1,
                  "hidden_dynamic_lds_size": scratch_bytes, "hidden_shared_base": operands.SHARED_BASE >> 32,
                  "hidden_private_base": operands.PRIVATE_BASE >> 32}
        for i, axis in enumerate("xyz"):
            hidden[f"hidden_block_count_{axis}"] = groups[i]
            hidden[f"hidden_group_size_{axis}"] = lanes if i == 0 else 1
        for row in metadata[".args"]:
            kind, at, size = row[".value_kind"], row[".offset"], row[".size"]
            if kind.startswith("hidden_"):
                value = hidden.get(kind, 0).to_bytes(size, "little")
            else:
                value = next(given)
                value = value.to_bytes(size, "little") if isinstance(value, int) else bytes(value)
                if len(value) != size:
                    raise MachineError(f"argument {row.get('.name', at)} has {size} bytes, not {len(value)}")
            data[at:at + size] = value
        if next(given, None) is not None:
            raise MachineError("more arguments than the kernel has")
        # The segment starts at a multiple of 16 bytes, which lets compilers read its end in pieces of 16.
        data += bytes(-len(data) % 16)
        return self.memory.add("the kernel's arguments", bytes(data), writable=False)

    def _start_registers(self, descriptor, kernarg, packet):
        """The scalars that all waves start with."""
        found = []
        for bit, n_words, value in ((0, 4, 0), (1, 2, packet), (2, 2, 0), (3, 2, kernarg), (4, 2, 0), (5, 2, 0),
                                    (6, 1, 0)):
            if descriptor.wants(bit):
                found += [value >> 32 * i & MASK32 for i in range(n_words)]
        for i in range(descriptor.preload & 127):
            found.append(self.memory.read(kernarg + 4 * ((descriptor.preload >> 7) + i), 4))
        # Some targets want more than are of use.
        return found + [POISON_WORD] * (descriptor.n_user_scalars - len(found))

    def _wave(self, group, descriptor, metadata, start, at, lanes, first):
        wave = Wave(group, self.lanes, at)
        n_active = min(self.lanes, lanes - at)
        wave.set_exec((1 << n_active) - 1)
        ids = np.arange(at, at + self.lanes, dtype=np.uint32)
        wave.u[0][:] = ids
        if not packs_lane_ids(self.target):
            for i in range(1, descriptor.n_lane_ids):
                wave.u[i][:] = 0
        scalars = list(start)
        if generation(self.target) >= 12:
            wave.s[TRAP_TEMPORARIES + 9] = group.ids[0]
            wave.s[TRAP_TEMPORARIES + 7] = group.ids[1] | group.ids[2] << 16
        else:
            scalars += [group.ids[i] for i in descriptor.group_ids]
        scalars += [0] * descriptor.has_group_info
        if descriptor.has_private_segment:
            n_bytes = metadata[".private_segment_fixed_size"] * self.lanes
            wave.scratch = Bytes("private memory", np.full(n_bytes, POISON_BYTE, np.uint8))
            scalars += [0] * (not finds_private_memory(self.target))
        wave.s[:len(scalars)] = scalars
        wave.pc = first
        return wave

    # ---- running

    def _run_group(self, kernel, program, waves):
        mixer = random.Random(self.schedule) if isinstance(self.schedule, int) else None
        running, waiting = list(waves), []
        while running:
            if mixer:
                i, slice_ = mixer.randrange(len(running)), mixer.randrange(1, 200)
            else:
                i, slice_ = (-1 if self.schedule == "reverse" else 0), INSTRUCTIONS_MAX
            wave = running[i]
            state = self._run_wave(kernel, program, wave, slice_)
            if state is not None:
                running.pop(i)
                if state == BARRIER:
                    waiting.append(wave)
            if not running:
                running, waiting = sorted(waiting, key=lambda w: w.first), []

    def _run_wave(self, kernel, program, wave, slice_):
        """Until BARRIER, END or, at the end of the slice, None."""
        code, pc, left = program.code, wave.pc, slice_
        state = None
        try:
            while left:
                left -= 1
                state = code[pc](wave)
                # Of no meaning unless it is a number: ufuncs return what they have written.
                if state.__class__ is not int:
                    pc += 1
                elif state >= 0:
                    pc = program.index[state]
                else:
                    pc += 1
                    break
        except Exception as error:
            address, _, text = program.lines[min(pc, len(program.lines) - 1)]
            raise MachineError(f"{self.target} {kernel} at {address:#x}, group {wave.group.ids}, lanes from "
                               f"{wave.first}: \"{text}\": {type(error).__name__}: {error}") from error
        wave.pc = pc
        n = slice_ - left
        self.n_instructions += n
        wave.n_done += n
        if wave.n_done >= INSTRUCTIONS_MAX:
            raise MachineError(f"{self.target} {kernel}: a wave does not end")
        return state if state.__class__ is int and state < 0 else None
