# SPDX-License-Identifier: Apache-2.0
"""Vector and scalar floating point. Subnormals are kept but where the hardware drops them."""

import operator

import numpy as np

import operands
from instructions_vector import arithmetic, comparison

F16, F32, F64, I32, I64, U16, U32, U64 = (np.float16, np.float32, np.float64, np.int32, np.int64, np.uint16, np.uint32,
                                          np.uint64)
TINY = F32(2.0 ** -126)


def to_odd(a, b, c):
    """a * b + c in binary64, the last bit 1 where it is not exact: rounding that again is rounding once."""
    product = np.multiply(a, b, dtype=F64)
    c = np.asarray(c, F64)
    total = np.asarray(product + c)
    part = total - product
    lost = (product - (total - part)) + (c - part)
    bits = total.view(U64)
    inexact = (lost != 0) & np.isfinite(total) & (bits & U64(1) == 0)
    toward_zero = np.signbit(lost) != np.signbit(total)
    return np.where(inexact, np.where(toward_zero, bits - U64(1), bits + U64(1)), bits).view(F64)


def fused(a, b, c):
    """a * b + c, rounded once. The product is exact in binary64; what the sum there lost matters where it lies halfway
    between two results, or is subnormal."""
    # With the type said: NumPy 1 lets the types of numbers count for less than those of arrays.
    total = np.add(np.multiply(a, b, dtype=F64), c, dtype=F64)
    halfway = (np.asarray(total).view(U64) & U64(0x1FFFFFFF)) == U64(0x10000000)
    if (halfway | (np.abs(total) < TINY) & (total != 0)).any():
        total = to_odd(a, b, c)
    return total.astype(F32)


def flush(x):
    return np.where(np.abs(x) < TINY, np.copysign(F32(0), x), x)


class Hardware:
    """By how many units in the last place the hardware's own functions are off; they promise one."""

    ulps = 0


def transcendental(function):
    """One of the hardware's own functions, which take and give subnormals as 0."""
    def run(x):
        y = np.asarray(flush(function(flush(x).astype(F64)).astype(F32)))
        if not Hardware.ulps:
            return y
        off = (y.view(I32) + I32(Hardware.ulps)).view(F32)
        # Powers of 2 whole, and what has no neighbours.
        return np.where(np.isfinite(y) & np.isfinite(off) & (y != 0) & (y.view(U32) & U32(0x7FFFFF) != 0), off, y)
    return run


def unfused(a, b, c):
    return flush(flush(flush(a) * flush(b)) + flush(c))


def median(a, b, c):
    return np.fmax(np.fmin(a, b), np.fmin(np.fmax(a, b), c))


def to_unsigned(x):
    return np.clip(np.nan_to_num(np.trunc(x.astype(F64)), nan=0.0), 0, 2 ** 32 - 1).astype(U32)


def to_signed(x):
    return np.clip(np.nan_to_num(np.trunc(x.astype(F64)), nan=0.0), -2 ** 31, 2 ** 31 - 1).astype(I32)


def load_exponent(x, n):
    return np.ldexp(x, n).astype(x.dtype)


def fraction(x):
    return np.minimum(x - np.floor(x), F32(1 - 2.0 ** -24))


def pack_nearest(a, b):
    low, high = (np.asarray(x).astype(F16).view(U16).astype(U32) for x in (a, b))
    return low | high << U32(16)


def pack_toward_zero(a, b):
    """Two binary16 in a word, rounded toward 0."""
    halves = []
    for x in (np.asarray(a), np.asarray(b)):
        near = x.astype(F16)
        away = np.abs(near.astype(F64)) > np.abs(x.astype(F64))
        halves.append(np.where(away, near.view(U16) - U16(1), near.view(U16)).astype(U32))
    return halves[0] | halves[1] << U32(16)


ROUNDINGS = {"rndne": np.rint, "trunc": np.trunc, "floor": np.floor, "ceil": np.ceil}
OWN_FUNCTIONS = {"v_exp_f32": np.exp2, "v_log_f32": np.log2, "v_rcp_f32": np.reciprocal,
                 "v_rcp_iflag_f32": np.reciprocal, "v_rsq_f32": lambda x: 1 / np.sqrt(x), "v_sqrt_f32": np.sqrt,
                 "v_sin_f32": lambda x: np.sin(2 * np.pi * x), "v_cos_f32": lambda x: np.cos(2 * np.pi * x)}
# name -> (function, kind, number of sources)
OPERATIONS = {
    "v_add_f32": (np.add, "f32", 2), "v_sub_f32": (np.subtract, "f32", 2), "v_mul_f32": (np.multiply, "f32", 2),
    "v_subrev_f32": (lambda a, b: b - a, "f32", 2), "v_max_f32": (np.fmax, "f32", 2),
    "v_min_f32": (np.fmin, "f32", 2), "v_fma_f32": (fused, "f32", 3), "v_fmamk_f32": (fused, "f32", 3),
    "v_fmaak_f32": (fused, "f32", 3), "v_mad_f32": (unfused, "f32", 3), "v_madmk_f32": (unfused, "f32", 3),
    "v_madak_f32": (unfused, "f32", 3),
    "v_max3_f32": (lambda a, b, c: np.fmax(np.fmax(a, b), c), "f32", 3),
    "v_min3_f32": (lambda a, b, c: np.fmin(np.fmin(a, b), c), "f32", 3), "v_med3_f32": (median, "f32", 3),
    "v_minmax_f32": (lambda a, b, c: np.fmax(np.fmin(a, b), c), "f32", 3),
    "v_maxmin_f32": (lambda a, b, c: np.fmin(np.fmax(a, b), c), "f32", 3),
    "v_fract_f32": (fraction, "f32", 1), "v_add_f16": (np.add, "f16", 2), "v_sub_f16": (np.subtract, "f16", 2),
    "v_mul_f16": (np.multiply, "f16", 2), "v_max_f16": (np.fmax, "f16", 2), "v_min_f16": (np.fmin, "f16", 2),
    "v_add_f64": (np.add, "f64", 2), "v_mul_f64": (np.multiply, "f64", 2),
    "v_mul_legacy_f32": (lambda a, b: np.where((a == 0) | (b == 0), F32(0), a * b), "f32", 2),
    **{f"v_{name}_f32": (function, "f32", 1) for name, function in ROUNDINGS.items()},
    **{name: (transcendental(function), "f32", 1) for name, function in OWN_FUNCTIONS.items()},
}
# name -> (function, kinds of the sources, kind of the result)
MIXED = {
    "v_cvt_f32_u32": (lambda x: x.astype(F32), ("u32",), "f32"),
    "v_cvt_f32_i32": (lambda x: x.astype(F32), ("i32",), "f32"),
    "v_cvt_f32_f16": (lambda x: x.astype(F32), ("f16",), "f32"),
    "v_cvt_f16_f32": (lambda x: x.astype(F16), ("f32",), "f16"),
    "v_cvt_u32_f32": (to_unsigned, ("f32",), "u32"), "v_cvt_i32_f32": (to_signed, ("f32",), "i32"),
    "v_cvt_f32_f64": (lambda x: x.astype(F32), ("f64",), "f32"),
    "v_cvt_f64_f32": (lambda x: x.astype(F64), ("f32",), "f64"),
    "v_cvt_f64_u32": (lambda x: x.astype(F64), ("u32",), "f64"),
    "v_cvt_rpi_i32_f32": (lambda x: to_signed(np.floor(x + F32(0.5))), ("f32",), "i32"),
    "v_cvt_pkrtz_f16_f32": (pack_toward_zero, ("f32", "f32"), "u32"),
    "v_cvt_pk_f16_f32": (pack_nearest, ("f32", "f32"), "u32"),
    "v_ldexp_f32": (load_exponent, ("f32", "i32"), "f32"),
    "v_frexp_mant_f32": (lambda x: np.frexp(x)[0], ("f32",), "f32"),
    "v_frexp_exp_i32_f32": (lambda x: np.frexp(x)[1].astype(I32), ("f32",), "i32"),
    **{f"v_cvt_f32_ubyte{i}": (lambda x, n=U32(8 * i): (x >> n & U32(255)).astype(F32), ("u32",), "f32")
       for i in range(4)},
}
COMPARE = {"eq": np.equal, "lg": lambda a, b: (a < b) | (a > b), "neq": np.not_equal, "gt": np.greater,
           "ge": np.greater_equal, "lt": np.less, "le": np.less_equal, "ngt": lambda a, b: ~(a > b),
           "nge": lambda a, b: ~(a >= b), "nlt": lambda a, b: ~(a < b), "nle": lambda a, b: ~(a <= b),
           "nlg": lambda a, b: ~((a < b) | (a > b)), "o": lambda a, b: (a == a) & (b == b),
           "u": lambda a, b: (a != a) | (b != b)}


def accumulate(function, kind="f32"):
    """The destination is the third source."""
    def build(ins):
        a, b = ins.source(1, kind), ins.source(2, kind)
        c, write = operands.lanes(ins.operands[0], kind), ins.writer(0, kind)
        return lambda w: write(w, function(a(w), b(w), c(w)))
    return build


def is_class(a, classes):
    """Bits of `classes`: signalling NaN, quiet NaN, then from -inf to +inf."""
    bits = np.asarray(a).view(U32)
    exponent, mantissa, negative = bits >> U32(23) & U32(255), bits & U32(0x7FFFFF), bits >> U32(31) == 1
    kind = np.where(exponent == 0, np.where(mantissa == 0, 1, 2), 3)
    kind = np.where(exponent == 255, 4, kind)
    number = np.where(negative, 6 - kind, 5 + kind)
    number = np.where((exponent == 255) & (mantissa != 0), np.where(mantissa >> U32(22) == 1, 1, 0), number)
    return (classes >> number.astype(U32) & U32(1)).astype(bool)


def compare_class(sets_exec):
    def build(ins):
        first = len(ins.operands) - 2
        a, b = ins.source(first, "f32"), operands.lanes(ins.operands[first + 1], "u32")
        write = operands.mask_writer(ins.operands[0], ins.lanes) if first else None

        def run(w):
            bits = w.bits_of(is_class(a(w), b(w)) & w.mask)
            if write:
                write(w, bits)
            if sets_exec:
                w.set_exec(bits)
        return run
    return build


# ---- division: scaled operands, a quotient refined by fused multiply-adds, and the special cases in the end

def exponent(x):
    return (np.asarray(x).view(U32) >> U32(23) & U32(255)).astype(I32)


def scale(x, denominator, numerator):
    """(x or a scaled x, which lanes have a quotient to scale back)."""
    x, d, n = np.broadcast_arrays(x, denominator, numerator)
    is_d, is_n = x.view(U32) == d.view(U32), x.view(U32) == n.view(U32)
    zero = (d == 0) | (n == 0)
    far = exponent(n) - exponent(d) >= 96
    d_tiny = (np.abs(d) < TINY) & (d != 0)
    inverse_tiny = np.abs(1 / d.astype(F64)) < float(TINY)
    quotient_tiny = np.abs(n.astype(F64) / d.astype(F64)) < float(TINY)
    n_tiny = exponent(n) <= 23
    up, down = F32(2.0 ** 64), F32(2.0 ** -64)
    choices = [zero, far, d_tiny, inverse_tiny & quotient_tiny, inverse_tiny, quotient_tiny, n_tiny]
    scaled = [F32(np.nan), np.where(is_d, x * up, x), x * up, np.where(is_d, x * down, x), x * down,
              np.where(is_n, x * up, x), x * up]
    flags = [False, True, False, True, False, True, False]
    return np.select(choices, scaled, x).astype(F32), np.select(choices, flags, False)


def divide_scale(ins):
    write, write_mask = ins.writer(0, "f32"), operands.mask_writer(ins.operands[1], ins.lanes)
    x, d, n = (ins.source(i, "f32") for i in (2, 3, 4))

    def run(w):
        scaled, flags = scale(x(w), d(w), n(w))
        write_mask(w, w.bits_of(flags & w.mask))
        write(w, scaled)
    return run


def divide_fused(ins):
    write, a, b, c = ins.writer(0, "f32"), ins.source(1, "f32"), ins.source(2, "f32"), ins.source(3, "f32")

    def run(w):
        z = c(w)
        back = np.where(exponent(z) > 127, 2.0 ** 64, 2.0 ** -64)
        write(w, (to_odd(a(w), b(w), z) * np.where(w.lanes_of(w.vcc), back, 1.0)).astype(F32))
    return run


def fix_quotient(quotient, d, n):
    negative = np.signbit(d) != np.signbit(n)
    signed = lambda x: np.where(negative, -x, x)  # noqa: E731
    nan = F32(np.nan)
    choices = [np.isnan(n), np.isnan(d), (d == 0) & (n == 0), np.isinf(d) & np.isinf(n), (d == 0) | np.isinf(n),
               np.isinf(d) | (n == 0), exponent(n) - exponent(d) < -150]
    results = [n, d, nan, nan, signed(F32(np.inf)), signed(F32(0)), signed(F32(0))]
    return np.select(choices, results, signed(np.abs(quotient))).astype(F32)


# ---- pairs of values in two registers or in the halves of one

def pairs(function, n_sources):
    """v_pk_*_f32: op_sel and op_sel_hi say which of a source's two registers each result takes."""
    def build(ins):
        def word(i, high):
            text = ins.operands[1 + i]
            sel = ins.get("op_sel_hi", [1] * n_sources)[i] if high else ins.get("op_sel", [0] * n_sources)[i]
            flip = ins.get("neg_hi" if high else "neg_lo", [0] * n_sources)[i]
            index, number = operands.vector_index(text), operands.scalar_index(text)
            if index is not None:
                read = lambda w: w.f[index + sel]  # noqa: E731
            elif number is not None:
                read = lambda w: U32(w.s[number + sel]).view(F32)  # noqa: E731
            else:
                read = operands.lanes(text, "f32") if not sel or text in operands.FLOATS else lambda w: F32(0)
            return (lambda w: np.negative(read(w))) if flip else read

        low, high = ([word(i, h) for i in range(n_sources)] for h in (False, True))
        out = operands.vector_index(ins.operands[0])

        def run(w):
            a, b = function(*(read(w) for read in low)), function(*(read(w) for read in high))
            np.copyto(w.f[out], a, where=w.where)
            np.copyto(w.f[out + 1], b, where=w.where)
        return run
    return build


def halves(function, n_sources, dtype):
    """v_pk_* of 16 bits."""
    def build(ins):
        kind = {F16: "f16", U16: "u16"}[dtype]

        def half(i, high):
            text = ins.operands[1 + i]
            sel = ins.get("op_sel_hi", [1] * n_sources)[i] if high else ins.get("op_sel", [0] * n_sources)[i]
            flip = ins.get("neg_hi" if high else "neg_lo", [0] * n_sources)[i]
            if operands.constant(text, kind) is not None:
                # A number of 16 bits in the low half; literals fill both.
                value = operands.constant(text, kind) >> (16 if sel else 0) & 0xFFFF
                part = np.array(value, U16).view(dtype)[()]
                return lambda w: -part if flip else part
            read = operands.lanes(text, "u32")
            shift = U32(16 if sel else 0)

            def take(w):
                x = np.asarray(read(w) >> shift & U32(0xFFFF)).astype(U16).view(dtype)
                return -x if flip else x
            return take

        low, high = ([half(i, h) for i in range(n_sources)] for h in (False, True))
        write = operands.lanes_writer(ins.operands[0], "u32")

        def run(w):
            a, b = (np.asarray(function(*(read(w) for read in part)), dtype).view(U16).astype(U32)
                    for part in (low, high))
            write(w, a | b << U32(16))
        return run
    return build


def mixed(part):
    """v_fma_mix*: each source is a binary32, or the half that op_sel names where op_sel_hi is 1."""
    def build(ins):
        reads = []
        for i in range(3):
            text = ins.operands[1 + i]
            if not ins.get("op_sel_hi", [0] * 3)[i]:
                reads.append(operands.lanes(text, "f32"))
                continue
            sign = text[:-len(text.lstrip("-|"))] if text[0] in "-|" else ""
            bits = operands.lanes(text.strip("-|"), "u32")
            shift = U32(16 * ins.get("op_sel", [0] * 3)[i])

            def take(w, bits=bits, shift=shift, sign=sign):
                x = np.asarray(bits(w) >> shift & U32(0xFFFF)).astype(U16).view(F16).astype(F32)
                x = np.abs(x) if "|" in sign else x
                return -x if "-" in sign else x
            reads.append(take)
        if part is None:
            write = ins.writer(0, "f32")
            return lambda w: write(w, fused(*(read(w) for read in reads)))
        index = operands.vector_index(ins.operands[0])
        return lambda w: np.copyto(w.u[index].view(F16)[part::2], fused(*(read(w) for read in reads)).astype(F16),
                                   where=w.where)
    return build


# ---- scalars (RDNA 3.5 and later)

def scalar_operation(function, n_sources, accumulates=False, result=F32):
    def build(ins):
        reads = [operands.scalar_float(text) for text in ins.operands[1:1 + n_sources]]
        if accumulates:
            reads.append(operands.scalar_float(ins.operands[0]))
        write = operands.scalar_writer(ins.operands[0])

        def run(w):
            x = np.asarray(function(*(read(w) for read in reads))).astype(result)
            write(w, int(x.view(U32)))
        return run
    return build


def scalar_from_integer(dtype):
    def build(ins):
        read, write = operands.scalar(ins.operands[1]), operands.scalar_writer(ins.operands[0])
        return lambda w: write(w, int(U32(read(w)).view(dtype).astype(F32).view(U32)))
    return build


def fill_scalars():
    two = {"add": operator.add, "sub": operator.sub, "mul": operator.mul, "min": np.fmin, "max": np.fmax}
    table = {f"s_{name}_f32": scalar_operation(function, 2) for name, function in two.items()}
    table |= {f"s_{name}_f32": scalar_operation(function, 1) for name, function in ROUNDINGS.items()}
    table |= {f"v_s_{name[2:]}": scalar_operation(transcendental(function), 1)
              for name, function in OWN_FUNCTIONS.items()}
    return table | {
        "s_min_num_f32": table["s_min_f32"], "s_max_num_f32": table["s_max_f32"],
        "s_fmac_f32": scalar_operation(fused, 2, True), "s_fmamk_f32": scalar_operation(fused, 3),
        "s_fmaak_f32": scalar_operation(fused, 3), "s_cvt_f32_u32": scalar_from_integer(U32),
        "s_cvt_f32_i32": scalar_from_integer(I32), "s_cvt_u32_f32": scalar_operation(to_unsigned, 1, result=U32),
        "s_cvt_i32_f32": scalar_operation(to_signed, 1, result=I32)}


def fill():
    table = {name: arithmetic(*row) for name, row in OPERATIONS.items()}
    table |= {name: arithmetic(f, out, out=out, sources=list(kinds)) for name, (f, kinds, out) in MIXED.items()}
    for name, function in COMPARE.items():
        for kind in ("f16", "f32", "f64"):
            table[f"v_cmp_{name}_{kind}"] = comparison(function, kind, False)
            table[f"v_cmpx_{name}_{kind}"] = comparison(function, kind, True)
    for name, function, n, dtype in (("add", np.add, 2, F16), ("mul", np.multiply, 2, F16), ("max", np.fmax, 2, F16),
                                     ("min", np.fmin, 2, F16)):
        table[f"v_pk_{name}_f16"] = halves(function, n, dtype)
    table |= {
        "v_pk_fma_f16": halves(lambda a, b, c: (a.astype(F64) * b.astype(F64) + c.astype(F64)).astype(F16), 3, F16),
        "v_pk_add_u16": halves(np.add, 2, U16), "v_pk_sub_u16": halves(np.subtract, 2, U16),
        "v_pk_min_u16": halves(np.minimum, 2, U16), "v_pk_max_u16": halves(np.maximum, 2, U16),
        "v_pk_mul_lo_u16": halves(np.multiply, 2, U16), "v_pk_fma_f32": pairs(fused, 3),
        "v_pk_mul_f32": pairs(np.multiply, 2), "v_pk_add_f32": pairs(np.add, 2), "v_fma_mix_f32": mixed(None),
        "v_fma_mixlo_f16": mixed(0), "v_fma_mixhi_f16": mixed(1), "v_fmac_f32": accumulate(fused),
        "v_mac_f32": accumulate(unfused), "v_cmp_class_f32": compare_class(False),
        "v_cmpx_class_f32": compare_class(True), "v_div_scale_f32": divide_scale, "v_div_fmas_f32": divide_fused,
        "v_div_fixup_f32": arithmetic(fix_quotient, "f32", 3)}
    return table | fill_scalars()


TABLE = fill()
ALIASES = {"v_max_num_f32": "v_max_f32", "v_min_num_f32": "v_min_f32", "v_max3_num_f32": "v_max3_f32",
           "v_min3_num_f32": "v_min3_f32", "v_minmax_num_f32": "v_minmax_f32", "v_maxmin_num_f32": "v_maxmin_f32",
           "v_med3_num_f32": "v_med3_f32", "v_cvt_pk_rtz_f16_f32": "v_cvt_pkrtz_f16_f32",
           "v_mul_dx9_zero_f32": "v_mul_legacy_f32", "v_mad_mix_f32": "v_fma_mix_f32"}
TABLE |= {new: TABLE[old] for new, old in ALIASES.items() if old in TABLE}
