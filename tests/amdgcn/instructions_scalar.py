# SPDX-License-Identifier: Apache-2.0
"""Scalar arithmetic, branches and what steers a wave."""

import operator

import operands
from decode import Unknown
from wave import MASK32

# What a handler returns where the wave does not go on with the next instruction; an address is a jump.
BARRIER, END = -1, -2


def signed(x, bits=32):
    return x - (1 << bits) if x >> bits - 1 else x


def lowest(x, bits=32):
    return (x & -x).bit_length() - 1 if x else MASK32


def highest(x, bits=32):
    return bits - x.bit_length() if x else MASK32


def reverse(x):
    return int(f"{x:032b}"[::-1], 2)


def field(x, spec, bits, is_signed):
    offset, width = spec & bits - 1, spec >> 16 & 0x7F
    part = x >> offset & (1 << width) - 1
    return signed(part, width) & (1 << bits) - 1 if is_signed and width else part


def fits(x):
    return not -1 << 31 <= x < 1 << 31


# (a, b, scc) -> (result, new scc or None); two sources of 32 bits.
BINARY = {
    "s_add_u32": lambda a, b, c: (a + b, a + b >> 32), "s_addc_u32": lambda a, b, c: (a + b + c, a + b + c >> 32),
    "s_sub_u32": lambda a, b, c: (a - b, b > a), "s_subb_u32": lambda a, b, c: (a - b - c, b + c > a),
    "s_add_i32": lambda a, b, c: (a + b, fits(signed(a) + signed(b))),
    "s_sub_i32": lambda a, b, c: (a - b, fits(signed(a) - signed(b))),
    "s_mul_i32": lambda a, b, c: (a * b, None), "s_mul_hi_u32": lambda a, b, c: (a * b >> 32, None),
    "s_mul_hi_i32": lambda a, b, c: (signed(a) * signed(b) >> 32, None),
    "s_min_u32": lambda a, b, c: (min(a, b), a < b), "s_max_u32": lambda a, b, c: (max(a, b), a > b),
    "s_min_i32": lambda a, b, c: (min(a, b, key=signed), signed(a) < signed(b)),
    "s_max_i32": lambda a, b, c: (max(a, b, key=signed), signed(a) > signed(b)),
    "s_absdiff_i32": lambda a, b, c: (abs(signed(a) - signed(b)), a != b),
    "s_lshl1_add_u32": lambda a, b, c: ((a << 1) + b, (a << 1) + b >> 32 != 0),
    "s_lshl2_add_u32": lambda a, b, c: ((a << 2) + b, (a << 2) + b >> 32 != 0),
    "s_lshl3_add_u32": lambda a, b, c: ((a << 3) + b, (a << 3) + b >> 32 != 0),
    "s_lshl4_add_u32": lambda a, b, c: ((a << 4) + b, (a << 4) + b >> 32 != 0),
    "s_pack_ll_b32_b16": lambda a, b, c: (a & 0xFFFF | b << 16, None),
    "s_pack_lh_b32_b16": lambda a, b, c: (a & 0xFFFF | b & 0xFFFF0000, None),
    "s_pack_hh_b32_b16": lambda a, b, c: (a >> 16 | b & 0xFFFF0000, None),
    "s_bfm_b32": lambda a, b, c: ((1 << (a & 31)) - 1 << (b & 31), None),
    "s_cselect_b32": lambda a, b, c: (a if c else b, None),
}
# The same for 32 and 64 bits; `n` is the number of bits. Shift counts have 32 bits.
WIDTHS = {
    "and": lambda a, b, n: a & b, "or": lambda a, b, n: a | b, "xor": lambda a, b, n: a ^ b,
    "andn2": lambda a, b, n: a & ~b, "orn2": lambda a, b, n: a | ~b, "nand": lambda a, b, n: ~(a & b),
    "nor": lambda a, b, n: ~(a | b), "xnor": lambda a, b, n: ~(a ^ b),
}
SAVES = {**WIDTHS, "andn1": lambda a, b, n: ~a & b, "orn1": lambda a, b, n: ~a | b}
SHIFTS = {
    "s_lshl_b": lambda a, b, n: a << (b & n - 1), "s_lshr_b": lambda a, b, n: a >> (b & n - 1),
    "s_ashr_i": lambda a, b, n: signed(a, n) >> (b & n - 1), "s_bfe_u": lambda a, b, n: field(a, b, n, False),
    "s_bfe_i": lambda a, b, n: field(a, b, n, True),
}
# name -> (function of one source, words of the source, words of the result, whether scc says "not 0")
UNARY = {
    "s_mov_b32": (lambda x: x, 1, 1, False), "s_mov_b64": (lambda x: x, 2, 2, False),
    "s_not_b32": (lambda x: ~x, 1, 1, True), "s_not_b64": (lambda x: ~x, 2, 2, True),
    "s_brev_b32": (reverse, 1, 1, False), "s_bcnt1_i32_b32": (lambda x: bin(x).count("1"), 1, 1, True),
    "s_bcnt1_i32_b64": (lambda x: bin(x).count("1"), 2, 1, True), "s_ff1_i32_b32": (lowest, 1, 1, False),
    "s_ff1_i32_b64": (lowest, 2, 1, False), "s_flbit_i32_b32": (highest, 1, 1, False),
    "s_flbit_i32_b64": (lambda x: highest(x, 64), 2, 1, False),
    "s_sext_i32_i8": (lambda x: signed(x & 255, 8), 1, 1, False),
    "s_sext_i32_i16": (lambda x: signed(x & 65535, 16), 1, 1, False),
    "s_abs_i32": (lambda x: abs(signed(x)), 1, 1, True), "s_wqm_b64": (None, 2, 2, True),
}
WIDE = {"s_add_nc_u64": operator.add, "s_sub_nc_u64": operator.sub, "s_mul_u64": operator.mul}
COMPARE = {"eq": operator.eq, "lg": operator.ne, "gt": operator.gt, "ge": operator.ge, "lt": operator.lt,
           "le": operator.le}
FLOAT_COMPARE = {**COMPARE, "neq": operator.ne, "lg": lambda a, b: a < b or a > b, "o": lambda a, b: a == a and b == b,
                 "u": lambda a, b: a != a or b != b, "ngt": lambda a, b: not a > b, "nge": lambda a, b: not a >= b,
                 "nlt": lambda a, b: not a < b, "nle": lambda a, b: not a <= b,
                 "nlg": lambda a, b: not (a < b or a > b)}
CONDITIONS = {
    "s_cbranch_scc0": lambda w: not w.scc, "s_cbranch_scc1": lambda w: w.scc,
    "s_cbranch_execz": lambda w: not w.exec, "s_cbranch_execnz": lambda w: w.exec,
    "s_cbranch_vccz": lambda w: not w.vcc, "s_cbranch_vccnz": lambda w: w.vcc,
}
# Waves run one after the other and memory is never late: nothing to wait for.
NOTHING = ("s_nop", "s_waitcnt", "s_delay_alu", "s_clause", "s_waitcnt_depctr", "s_waitcnt_vscnt", "s_inst_prefetch",
           "s_set_inst_prefetch_distance", "s_sendmsg", "s_sleep", "s_setprio", "s_wait_alu", "s_wait_kmcnt",
           "s_wait_loadcnt", "s_wait_storecnt", "s_wait_dscnt", "s_wait_loadcnt_dscnt", "s_wait_storecnt_dscnt",
           "s_wait_idle", "s_waitcnt_vmcnt", "s_waitcnt_lgkmcnt", "s_waitcnt_expcnt", "s_wait_expcnt",
           "s_barrier_signal", "s_icache_inv", "s_dcache_wb", "s_dcache_inv", "s_ttracedata_imm")


def nothing(ins):
    return lambda w: None


def write_result(ins, n_words):
    return operands.scalar_writer(ins.operands[0], n_words)


def binary(function):
    def build(ins):
        # A constant after the destination: s_addk_i32 s0, 0x10 is s_add_i32 s0, s0, 0x10.
        first, second = ins.operands[1:] if len(ins.operands) > 2 else (ins.operands[0], ins.operands[1])
        a, b, write = operands.scalar(first), operands.scalar(second), write_result(ins, 1)

        def run(w):
            x, scc = function(a(w), b(w), w.scc)
            write(w, x & MASK32)
            if scc is not None:
                w.scc = int(scc)
        return run
    return build


def wide(function, bits, second_words=None, sets_scc=True):
    n_words = bits // 32
    limit = (1 << bits) - 1

    def build(ins):
        a, write = operands.scalar(ins.operands[1], n_words), write_result(ins, n_words)
        b = operands.scalar(ins.operands[2], second_words or n_words)

        def run(w):
            x = function(a(w), b(w)) & limit
            write(w, x)
            if sets_scc:
                w.scc = int(x != 0)
        return run
    return build


def unary(function, source_words, result_words, sets_scc):
    limit = (1 << 32 * result_words) - 1

    def build(ins):
        if function is None:
            raise Unknown("not supported")
        read, write = operands.scalar(ins.operands[1], source_words), write_result(ins, result_words)

        def run(w):
            x = function(read(w)) & limit
            write(w, x)
            if sets_scc:
                w.scc = int(x != 0)
        return run
    return build


def select64(ins):
    a, b, write = operands.scalar(ins.operands[1], 2), operands.scalar(ins.operands[2], 2), write_result(ins, 2)
    return lambda w: write(w, a(w) if w.scc else b(w))


def constant_move(ins):
    write, value = write_result(ins, 1), signed(operands.constant(ins.operands[1], "u32") & 0xFFFF, 16)
    return lambda w: write(w, value & MASK32)


def conditional_move(n_words):
    def build(ins):
        read, write = operands.scalar(ins.operands[1], n_words), write_result(ins, n_words)

        def run(w):
            if w.scc:
                write(w, read(w))
        return run
    return build


def save_exec(function, n_words):
    """exec = function(source, exec); the destination gets the old exec."""
    limit = (1 << 32 * n_words) - 1

    def build(ins):
        read, write = operands.scalar(ins.operands[1], n_words), write_result(ins, n_words)

        def run(w):
            before = w.exec
            after = function(read(w), before) & limit
            write(w, before)
            w.set_exec(after)
            w.scc = int(w.exec != 0)
        return run
    return build


def compare(function, is_signed, bits=32):
    def build(ins):
        a, b = (operands.scalar(text, bits // 32) for text in ins.operands)
        if ins.mnemonic.startswith("s_cmpk") and is_signed:
            value = signed(b(None) & 0xFFFF, 16) & MASK32
            b = lambda w: value  # noqa: E731

        def run(w):
            x, y = a(w), b(w)
            w.scc = int(function(signed(x, bits), signed(y, bits)) if is_signed else function(x, y))
        return run
    return build


def float_compare(function):
    def build(ins):
        a, b = (operands.scalar_float(text) for text in ins.operands)

        def run(w):
            w.scc = int(function(a(w), b(w)))
        return run
    return build


def set_bit(value, n_words):
    def build(ins):
        old, at, write = (operands.scalar(ins.operands[0], n_words), operands.scalar(ins.operands[1]),
                          write_result(ins, n_words))

        def run(w):
            bit = 1 << (at(w) & 32 * n_words - 1)
            write(w, old(w) | bit if value else old(w) & ~bit)
        return run
    return build


def test_bit(value, n_words):
    def build(ins):
        x, at = operands.scalar(ins.operands[0], n_words), operands.scalar(ins.operands[1])

        def run(w):
            w.scc = int((x(w) >> (at(w) & 32 * n_words - 1) & 1) == value)
        return run
    return build


def target_of(ins):
    return ins.address + 4 + 4 * signed(int(ins.operands[0], 0) & 0xFFFF, 16)


def branch(condition):
    def build(ins):
        target = target_of(ins)
        if condition is None:
            return lambda w: target
        return lambda w: target if condition(w) else None
    return build


def get_pc(ins):
    write, after = write_result(ins, 2), ins.address + ins.size
    return lambda w: write(w, w.group.machine.code_base + after)


def set_pc(ins):
    read = operands.scalar(ins.operands[-1], 2)
    if len(ins.operands) == 1:
        return lambda w: read(w) - w.group.machine.code_base
    write, after = write_result(ins, 2), ins.address + ins.size

    def run(w):
        target = read(w) - w.group.machine.code_base
        write(w, w.group.machine.code_base + after)
        return target
    return run


def load(n_words, n_bytes=None, is_signed=False):
    def build(ins):
        base, write = operands.scalar(ins.operands[1], 2), write_result(ins, n_words)
        offset = operands.scalar(ins.operands[2])
        more = ins.get("offset")
        size = n_bytes or 4 * n_words
        align = ~3 if size >= 4 else ~0

        def run(w):
            # An offset in a register counts from 0 up, one in the instruction is signed.
            at = offset(w)
            x = w.memory.read((base(w) + (signed(at) if at >> 31 else at) + more) & align, size)
            write(w, signed(x, 8 * size) if is_signed else x)
        return run
    return build


def fill():
    table = {name: nothing for name in NOTHING}
    table |= {name: branch(condition) for name, condition in CONDITIONS.items()}
    table |= {name: binary(function) for name, function in BINARY.items()}
    table |= {name: unary(*row) for name, row in UNARY.items()}
    table |= {name: wide(function, 64, sets_scc=False) for name, function in WIDE.items()}
    for bits in (32, 64):
        n_words = bits // 32
        for name, function in WIDTHS.items():
            at_width = lambda a, b, f=function, n=bits: f(a, b, n)  # noqa: E731
            table[f"s_{name}_b{bits}"] = wide(at_width, bits)
        for name, function in SAVES.items():
            table[f"s_{name}_saveexec_b{bits}"] = save_exec(lambda a, b, f=function, n=bits: f(a, b, n), n_words)
        for name, function in SHIFTS.items():
            table[f"{name}{bits}"] = wide(lambda a, b, f=function, n=bits: f(a, b, n), bits, 1)
        table[f"s_cmov_b{bits}"] = conditional_move(n_words)
        for value in (0, 1):
            table[f"s_bitset{value}_b{bits}"] = set_bit(value, n_words)
            table[f"s_bitcmp{value}_b{bits}"] = test_bit(value, n_words)
    for name, function in COMPARE.items():
        for form in ("s_cmp_", "s_cmpk_"):
            table[f"{form}{name}_u32"] = compare(function, False)
            table[f"{form}{name}_i32"] = compare(function, True)
        table[f"s_cmp_{name}_u64"] = compare(function, False, 64)
    table |= {f"s_cmp_{name}_f32": float_compare(function) for name, function in FLOAT_COMPARE.items()}
    for n in (1, 2, 3, 4, 8, 16):
        table[f"s_load_b{32 * n}"] = table["s_load_dword" + (f"x{n}" if n > 1 else "")] = load(n)
    table |= {"s_load_u8": load(1, 1), "s_load_i8": load(1, 1, True), "s_load_u16": load(1, 2),
              "s_load_i16": load(1, 2, True)}
    return table | {
        "s_branch": branch(None), "s_endpgm": lambda ins: lambda w: END, "s_barrier": lambda ins: lambda w: BARRIER,
        "s_barrier_wait": lambda ins: lambda w: BARRIER, "s_movk_i32": constant_move, "s_cselect_b64": select64,
        "s_addk_i32": addk, "s_mulk_i32": mulk, "s_getpc_b64": get_pc, "s_setpc_b64": set_pc, "s_swappc_b64": set_pc}


def with_constant(function):
    """The second operand is a constant of 16 bits with a sign."""
    def build(ins):
        value = signed(operands.constant(ins.operands[1], "u32") & 0xFFFF, 16) & MASK32
        read, write = operands.scalar(ins.operands[0]), write_result(ins, 1)

        def run(w):
            x, scc = function(read(w), value, w.scc)
            write(w, x & MASK32)
            if scc is not None:
                w.scc = int(scc)
        return run
    return build


addk, mulk = with_constant(BINARY["s_add_i32"]), with_constant(BINARY["s_mul_i32"])
TABLE = fill()
ALIASES = {
    "s_add_co_u32": "s_add_u32", "s_add_co_ci_u32": "s_addc_u32", "s_sub_co_u32": "s_sub_u32",
    "s_sub_co_ci_u32": "s_subb_u32", "s_add_co_i32": "s_add_i32", "s_sub_co_i32": "s_sub_i32",
    "s_addk_co_i32": "s_addk_i32", "s_ctz_i32_b32": "s_ff1_i32_b32", "s_ctz_i32_b64": "s_ff1_i32_b64",
    "s_clz_i32_u32": "s_flbit_i32_b32", "s_clz_i32_u64": "s_flbit_i32_b64",
    **{f"s_{new}_{form}b{bits}": f"s_{old}_{form}b{bits}" for bits in (32, 64) for form in ("", "saveexec_")
       for new, old in (("and_not1", "andn2"), ("or_not1", "orn2"))},
    "s_and_not0_saveexec_b32": "s_andn1_saveexec_b32", "s_and_not0_saveexec_b64": "s_andn1_saveexec_b64"}
TABLE |= {new: TABLE[old] for new, old in ALIASES.items() if old in TABLE}
