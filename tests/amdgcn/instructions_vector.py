# SPDX-License-Identifier: Apache-2.0
"""Vector integer arithmetic, moves, selections, comparisons and lanes' numbers."""

import numpy as np

import operands

U16, U32, U64, I32, I64 = np.uint16, np.uint32, np.uint64, np.int32, np.int64
ALL = U64(0xFFFFFFFF)


def arithmetic(function, kind, n_sources=2, out=None, sources=None):
    """function of [lanes]; a ufunc writes straight into the register where nothing else is asked of it."""
    out = out or kind
    view = {"u32": "u", "i32": "i", "f32": "f"}.get(out)
    direct = isinstance(function, np.ufunc) and view and out == kind and sources is None

    def build(ins):
        kinds = sources or [kind] * n_sources
        first = len(ins.operands) - len(kinds)
        # Results that are accumulated onto have their destination among the sources.
        reads = [ins.source(first + i, k) for i, k in enumerate(kinds)]
        if direct and ins.is_plain and n_sources == 2:
            a, b = reads
            index = operands.vector_index(ins.operands[0])
            if view == "f":
                return lambda w: function(a(w), b(w), out=w.f[index], where=w.where)
            if view == "u":
                return lambda w: function(a(w), b(w), out=w.u[index], where=w.where)
            return lambda w: function(a(w), b(w), out=w.i[index], where=w.where)
        write = ins.writer(0, out)
        if len(reads) == 1:
            a, = reads
            return lambda w: write(w, function(a(w)))
        if len(reads) == 2:
            a, b = reads
            return lambda w: write(w, function(a(w), b(w)))
        a, b, c = reads
        return lambda w: write(w, function(a(w), b(w), c(w)))
    return build


def popcount(x):
    x = x - (x >> U32(1) & U32(0x55555555))
    x = (x & U32(0x33333333)) + (x >> U32(2) & U32(0x33333333))
    return (x + (x >> U32(4)) & U32(0x0F0F0F0F)) * U32(0x01010101) >> U32(24)


def leading(x):
    """The number of zeros above the highest one, or ~0."""
    bits = np.frexp(np.asarray(x, np.float64))[1].astype(U32)
    return np.where(x == 0, ~U32(0), U32(32) - bits)


def trailing(x):
    x = np.asarray(x)
    return np.where(x == 0, ~U32(0), popcount((x & ~x + U32(1)) - U32(1)))


def reverse(x):
    for shift, mask in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF)):
        x = (x >> U32(shift) & U32(mask)) | (x & U32(mask)) << U32(shift)
    return x >> U32(16) | x << U32(16)


def shift_left(a, b):
    return a << (b & U32(31))


def shift_right(a, b):
    return a >> (b & U32(31))


def field_u(a, b, c):
    return (a >> (b & U32(31))) & ((U32(1) << (c & U32(31))) - U32(1))


def field_i(a, b, c):
    width = np.asarray(c & U32(31))
    up = (U32(32) - width) & U32(31)
    x = (field_u(a, b, c) << up).view(I32) >> up.view(I32)
    return np.where(width == 0, I32(0), x).view(U32)


def permute(a, b, c):
    """Byte i of the result is the byte of a:b that byte i of c names; b holds bytes 0 to 3."""
    shape = np.broadcast(a, b, c).shape or (1,)
    source = np.zeros((*shape, 16), np.uint8)
    source[..., 0:4] = np.broadcast_to(b, shape).astype("<u4")[..., None].view(np.uint8)
    source[..., 4:8] = np.broadcast_to(a, shape).astype("<u4")[..., None].view(np.uint8)
    for i, half in enumerate((1, 3, 5, 7)):
        source[..., 8 + i] = np.where(source[..., half] & 0x80, 0xFF, 0)
    source[..., 13:16] = 0xFF
    choice = np.broadcast_to(c, shape).astype("<u4")[..., None].view(np.uint8)
    picked = np.take_along_axis(source, np.minimum(choice, 13).astype(I64), -1)
    return np.ascontiguousarray(picked).view("<u4")[..., 0].astype(U32)


def pair(a, b):
    return a.astype(U64) << U64(32) | b.astype(U64)


def multiply_high(a, b):
    return (a.astype(U64) * b.astype(U64) >> U64(32)).astype(U32)


def multiply_high_i(a, b):
    return (a.astype(I64) * b.astype(I64) >> I64(32)).astype(I32)


def low24(x):
    return x & U32(0xFFFFFF)


def low24_i(x):
    return (np.asarray(x) << I32(8)) >> I32(8)


# name -> (function, kind, number of sources)
OPERATIONS = {
    "v_add_u32": (np.add, "u32", 2), "v_sub_u32": (np.subtract, "u32", 2),
    "v_subrev_u32": (lambda a, b: b - a, "u32", 2), "v_mul_lo_u32": (np.multiply, "u32", 2),
    "v_mul_hi_u32": (multiply_high, "u32", 2), "v_mul_hi_i32": (multiply_high_i, "i32", 2),
    "v_mul_u32_u24": (lambda a, b: low24(a) * low24(b), "u32", 2),
    "v_mul_i32_i24": (lambda a, b: low24_i(a) * low24_i(b), "i32", 2),
    "v_mul_hi_u32_u24": (lambda a, b: multiply_high(low24(a), low24(b)), "u32", 2),
    "v_mad_u32_u24": (lambda a, b, c: low24(a) * low24(b) + c, "u32", 3),
    "v_mad_i32_i24": (lambda a, b, c: low24_i(a) * low24_i(b) + c, "i32", 3),
    "v_min_u32": (np.minimum, "u32", 2), "v_max_u32": (np.maximum, "u32", 2),
    "v_min_i32": (np.minimum, "i32", 2), "v_max_i32": (np.maximum, "i32", 2),
    "v_min3_u32": (lambda a, b, c: np.minimum(np.minimum(a, b), c), "u32", 3),
    "v_max3_u32": (lambda a, b, c: np.maximum(np.maximum(a, b), c), "u32", 3),
    "v_min3_i32": (lambda a, b, c: np.minimum(np.minimum(a, b), c), "i32", 3),
    "v_max3_i32": (lambda a, b, c: np.maximum(np.maximum(a, b), c), "i32", 3),
    "v_med3_u32": (lambda a, b, c: np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c)), "u32", 3),
    "v_med3_i32": (lambda a, b, c: np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c)), "i32", 3),
    "v_minmax_u32": (lambda a, b, c: np.maximum(np.minimum(a, b), c), "u32", 3),
    "v_maxmin_u32": (lambda a, b, c: np.minimum(np.maximum(a, b), c), "u32", 3),
    "v_and_b32": (np.bitwise_and, "u32", 2), "v_or_b32": (np.bitwise_or, "u32", 2),
    "v_xor_b32": (np.bitwise_xor, "u32", 2), "v_xnor_b32": (lambda a, b: ~(a ^ b), "u32", 2),
    "v_not_b32": (np.invert, "u32", 1), "v_bfrev_b32": (reverse, "u32", 1), "v_mov_b32": (lambda a: a, "u32", 1),
    "v_lshlrev_b32": (lambda a, b: shift_left(b, a), "u32", 2),
    "v_lshrrev_b32": (lambda a, b: shift_right(b, a), "u32", 2),
    "v_ashrrev_i32": (lambda a, b: b >> (a & I32(31)), "i32", 2),
    "v_add3_u32": (lambda a, b, c: a + b + c, "u32", 3), "v_or3_b32": (lambda a, b, c: a | b | c, "u32", 3),
    "v_xor3_b32": (lambda a, b, c: a ^ b ^ c, "u32", 3), "v_and_or_b32": (lambda a, b, c: a & b | c, "u32", 3),
    "v_lshl_add_u32": (lambda a, b, c: shift_left(a, b) + c, "u32", 3),
    "v_add_lshl_u32": (lambda a, b, c: shift_left(a + b, c), "u32", 3),
    "v_lshl_or_b32": (lambda a, b, c: shift_left(a, b) | c, "u32", 3),
    "v_xad_u32": (lambda a, b, c: (a ^ b) + c, "u32", 3),
    "v_bfe_u32": (field_u, "u32", 3), "v_bfe_i32": (field_i, "u32", 3),
    "v_bfi_b32": (lambda a, b, c: a & b | ~a & c, "u32", 3),
    "v_bfm_b32": (lambda a, b: shift_left((U32(1) << (a & U32(31))) - U32(1), b), "u32", 2),
    "v_perm_b32": (permute, "u32", 3), "v_bcnt_u32_b32": (lambda a, b: popcount(np.asarray(a)) + b, "u32", 2),
    "v_alignbit_b32": (lambda a, b, c: (pair(a, b) >> (c & U32(31)).astype(U64) & ALL).astype(U32), "u32", 3),
    "v_alignbyte_b32":
        (lambda a, b, c: (pair(a, b) >> ((c & U32(3)) * U32(8)).astype(U64) & ALL).astype(U32), "u32", 3),
    "v_ffbh_u32": (leading, "u32", 1), "v_ffbl_b32": (trailing, "u32", 1),
    "v_mov_b64": (lambda a: a, "u64", 1), "v_add_u16": (np.add, "u16", 2), "v_sub_u16": (np.subtract, "u16", 2),
    "v_subrev_u16": (lambda a, b: b - a, "u16", 2), "v_mul_lo_u16": (np.multiply, "u16", 2),
    "v_min_u16": (np.minimum, "u16", 2), "v_max_u16": (np.maximum, "u16", 2), "v_mov_b16": (lambda a: a, "u16", 1),
    "v_and_b16": (np.bitwise_and, "u16", 2), "v_or_b16": (np.bitwise_or, "u16", 2), "v_not_b16": (np.invert, "u16", 1),
    "v_lshlrev_b16": (lambda a, b: b << (a & U16(15)), "u16", 2),
    "v_lshrrev_b16": (lambda a, b: b >> (a & U16(15)), "u16", 2),
    "v_mad_u16": (lambda a, b, c: a * b + c, "u16", 3),
}
# Results and sources of different kinds: name -> (function, kinds of the sources, kind of the result)
MIXED = {
    "v_lshlrev_b64": (lambda a, b: b << (a & U32(63)).astype(U64), ("u32", "u64"), "u64"),
    "v_lshrrev_b64": (lambda a, b: b >> (a & U32(63)).astype(U64), ("u32", "u64"), "u64"),
    "v_ashrrev_i64": (lambda a, b: b >> (a & U32(63)).astype(I64), ("u32", "i64"), "i64"),
    "v_lshl_add_u64":
        (lambda a, b, c: (a << (b & U32(63)).astype(U64)) + c, ("u64", "u32", "u64"), "u64"),
    "v_add_nc_u64": (lambda a, b: a + b, ("u64", "u64"), "u64"),
}
COMPARE = {"eq": np.equal, "ne": np.not_equal, "lg": np.not_equal, "gt": np.greater, "ge": np.greater_equal,
           "lt": np.less, "le": np.less_equal}


def comparison(function, kind, sets_exec):
    def build(ins):
        a, b = ins.source(len(ins.operands) - 2, kind), ins.source(len(ins.operands) - 1, kind)
        has_mask = len(ins.operands) == 3
        # RDNA's v_cmpx has no destination but exec.
        write = operands.mask_writer(ins.operands[0], ins.lanes) if has_mask else None

        def run(w):
            # A comparison of two scalars holds for all lanes or none.
            bits = w.bits_of(function(a(w), b(w)) & w.mask)
            if write:
                write(w, bits)
            if sets_exec:
                w.set_exec(bits)
        return run
    return build


def select(ins):
    a, b = ins.source(1, "u32"), ins.source(2, "u32")
    mask = operands.mask_reader(ins.operands[3] if len(ins.operands) > 3 else ins.vcc_name, ins.lanes)
    write = ins.writer(0, "u32")
    return lambda w: write(w, np.where(mask(w), b(w), a(w)))


def with_carry(function, takes_carry):
    """function of 64-bit (a, b, carry) -> (sum, which lanes carry)."""
    def build(ins):
        write, write_mask = ins.writer(0, "u32"), operands.mask_writer(ins.operands[1], ins.lanes)
        a, b = ins.source(2, "u32"), ins.source(3, "u32")
        carry = operands.mask_reader(ins.operands[4], ins.lanes) if takes_carry else None

        def run(w):
            c = carry(w).astype(I64) if carry else I64(0)
            total = function(a(w).astype(I64), b(w).astype(I64), c)
            # Sums are below 2^33 and differences above -2^33: bit 32 is the carry or the borrow.
            write_mask(w, w.bits_of((total >> I64(32) & I64(1)).astype(bool) & w.mask))
            write(w, total.astype(U32))
        return run
    return build


def multiply_add64(kind):
    wide = I64 if kind[0] == "i" else U64

    def build(ins):
        write, write_mask = ins.writer(0, "u64"), operands.mask_writer(ins.operands[1], ins.lanes)
        a, b, c = ins.source(2, kind), ins.source(3, kind), ins.source(4, "u64")

        def run(w):
            product = np.asarray(a(w).astype(wide) * b(w).astype(wide)).view(U64)
            total = product + c(w)
            write_mask(w, w.bits_of((total < product) & w.mask))
            write(w, total)
        return run
    return build


def first_lane(ins):
    read, write = operands.lanes(ins.operands[1], "u32"), operands.scalar_writer(ins.operands[0])
    return lambda w: write(w, int(np.broadcast_to(read(w), (w.lanes,))[w.first_active]))


def read_lane(ins):
    index, write = operands.vector_index(ins.operands[1]), operands.scalar_writer(ins.operands[0])
    lane = operands.scalar(ins.operands[2])
    return lambda w: write(w, int(w.u[index][lane(w) & w.lanes - 1]))


def write_lane(ins):
    index = operands.vector_index(ins.operands[0])
    read, lane = operands.scalar(ins.operands[1]), operands.scalar(ins.operands[2])

    def run(w):
        w.u[index][lane(w) & w.lanes - 1] = read(w)
    return run


def count_below(first):
    """How many of a mask's 32 bits from lane `first` on are those of lower lanes."""
    def build(ins):
        mask, add, write = ins.source(1, "u32"), ins.source(2, "u32"), ins.writer(0, "u32")
        below = np.clip(np.arange(ins.lanes) - first, 0, 32).astype(U64)
        own = ((U64(1) << below) - U64(1)).astype(U32)
        return lambda w: write(w, popcount(mask(w) & own) + add(w))
    return build


def permute_lanes(crosses):
    """v_permlane16: within rows of 16 lanes, v_permlanex16: between the two rows of 32."""
    def build(ins):
        read, low, high = ins.source(1, "u32"), operands.scalar(ins.operands[2]), operands.scalar(ins.operands[3])
        write = operands.lanes_writer(ins.operands[0], "u32")
        lane = np.arange(ins.lanes)

        def run(w):
            choices = low(w) | high(w) << 32
            chosen = np.array([choices >> 4 * (i & 15) & 15 for i in range(w.lanes)])
            write(w, read(w)[(lane & ~15 ^ (16 if crosses else 0)) + chosen])
        return run
    return build


def move_pair(ins):
    """v_pk_mov_b32: a word of each source."""
    words = []
    for i, chosen in enumerate(ins.get("op_sel", [0, 0])):
        text = ins.operands[1 + i]
        index, number = operands.vector_index(text), operands.scalar_index(text)
        if index is not None:
            words.append(lambda w, at=index + chosen: w.u[at])
        elif number is not None:
            words.append(lambda w, at=number + chosen: U32(w.s[at]))
        else:
            words.append(operands.lanes(text, "u32"))
    low, high = words
    out = operands.vector_index(ins.operands[0])

    def run(w):
        a, b = np.copy(low(w)), np.copy(high(w))
        np.copyto(w.u[out], a, where=w.where)
        np.copyto(w.u[out + 1], b, where=w.where)
    return run


def swap(ins):
    a, b = (operands.vector_index(text) for text in ins.operands)

    def run(w):
        before = w.u[a].copy()
        np.copyto(w.u[a], w.u[b], where=w.where)
        np.copyto(w.u[b], before, where=w.where)
    return run


def fill():
    table = {name: arithmetic(*row) for name, row in OPERATIONS.items()}
    table |= {name: arithmetic(f, out, out=out, sources=list(kinds)) for name, (f, kinds, out) in MIXED.items()}
    for name, function in COMPARE.items():
        for kind in ("u16", "i16", "u32", "i32", "u64", "i64"):
            table[f"v_cmp_{name}_{kind}"] = comparison(function, kind, False)
            table[f"v_cmpx_{name}_{kind}"] = comparison(function, kind, True)
    subtract = {"v_sub_co_u32": lambda a, b, c: a - b - c, "v_subrev_co_u32": lambda a, b, c: b - a - c}
    table |= {name: with_carry(function, False) for name, function in subtract.items()}
    table |= {"v_add_co_u32": with_carry(lambda a, b, c: a + b, False),
              "v_addc_co_u32": with_carry(lambda a, b, c: a + b + c, True),
              "v_subb_co_u32": with_carry(subtract["v_sub_co_u32"], True),
              "v_subbrev_co_u32": with_carry(subtract["v_subrev_co_u32"], True),
              "v_mad_u64_u32": multiply_add64("u32"), "v_mad_i64_i32": multiply_add64("i32"),
              "v_cndmask_b32": select, "v_readfirstlane_b32": first_lane, "v_readlane_b32": read_lane,
              "v_writelane_b32": write_lane, "v_mbcnt_lo_u32_b32": count_below(0),
              "v_mbcnt_hi_u32_b32": count_below(32), "v_permlane16_b32": permute_lanes(False),
              "v_permlanex16_b32": permute_lanes(True), "v_pk_mov_b32": move_pair, "v_swap_b32": swap,
              "v_nop": lambda ins: lambda w: None, "v_accvgpr_read_b32": arithmetic(lambda a: a, "u32", 1),
              "v_accvgpr_write_b32": arithmetic(lambda a: a, "u32", 1),
              "v_accvgpr_mov_b32": arithmetic(lambda a: a, "u32", 1)}
    return table


TABLE = fill()
ALIASES = {
    "v_add_nc_u32": "v_add_u32", "v_sub_nc_u32": "v_sub_u32", "v_subrev_nc_u32": "v_subrev_u32",
    "v_add_co_ci_u32": "v_addc_co_u32", "v_sub_co_ci_u32": "v_subb_co_u32", "v_subrev_co_ci_u32": "v_subbrev_co_u32",
    "v_mad_co_u64_u32": "v_mad_u64_u32", "v_mad_co_i64_i32": "v_mad_i64_i32", "v_clz_i32_u32": "v_ffbh_u32",
    "v_ctz_i32_b32": "v_ffbl_b32", "v_add_nc_u16": "v_add_u16", "v_sub_nc_u16": "v_sub_u16"}
TABLE |= {new: TABLE[old] for new, old in ALIASES.items() if old in TABLE}
