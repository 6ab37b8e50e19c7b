"""Llama files of any shape with random weights of one type: any bits are codes, and scales are such that weights are about 0.03.

The same bytes each time. Metadata and tokenizer are those of another model.
"""

import random
import struct
from typing import NamedTuple

import common  # noqa: F401  (finds gguf_edit)
import gguf_edit


class Shape(NamedTuple):
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    layers: int
    vocabulary: int


class Format(NamedTuple):
    number: int
    file_type: int  # general.file_type of a file whose matrices have it
    elements: int  # in a group
    bytes: int     # of a group
    # byte of a group: its bits that stay random, and those that are set. So a scale's low byte is random, and its high
    # byte says about how large it is.
    fixed: dict


def f16(exponent, at, sign=0):
    """The high byte of the f16 at `at`: about 2^exponent."""
    high = (sign << 7 | (exponent + 15) << 2) if exponent > -15 else 1
    return {at + 1: (0, high)}


FORMATS = {
    "F32": Format(0, 0, 1, 4, {2: (0x7F, 0), 3: (0x80, 0x3C)}),
    "F16": Format(1, 1, 1, 2, {1: (0x83, 0x24)}),
    "BF16": Format(30, 32, 1, 2, {1: (0x80, 0x3C)}),
    "Q4_0": Format(2, 2, 32, 18, f16(-8, 0)),
    "Q4_1": Format(3, 3, 32, 20, f16(-8, 0) | f16(-5, 2, sign=1)),
    "Q5_0": Format(6, 8, 32, 22, f16(-9, 0)),
    "Q5_1": Format(7, 9, 32, 24, f16(-9, 0) | f16(-5, 2, sign=1)),
    "Q8_0": Format(8, 7, 32, 34, f16(-12, 0)),
    "Q2_K": Format(10, 10, 256, 84, f16(-8, 80) | f16(-8, 82)),
    "Q3_K": Format(11, 11, 256, 110, f16(-11, 108)),
    "Q4_K": Format(12, 14, 256, 144, f16(-12, 0) | f16(-9, 2)),
    "Q5_K": Format(13, 16, 256, 176, f16(-13, 0) | f16(-9, 2)),
    "Q6_K": Format(14, 18, 256, 210, f16(-15, 208)),
    "IQ4_NL": Format(20, 25, 32, 18, f16(-12, 0)),
    "IQ4_XS": Format(23, 30, 256, 136, f16(-15, 0)),
    "MXFP4": Format(39, 38, 32, 17, {0: (0, 120)}),
}


def random_groups(form, n_elements, rng):
    n_groups = n_elements // form.elements
    data = bytearray(rng.randbytes(n_groups * form.bytes))
    for at, (kept, bits) in form.fixed.items():
        data[at::form.bytes] = data[at::form.bytes].translate(bytes(byte & kept | bits for byte in range(256)))
    return bytes(data)


def write(path, source, shape, form):
    """A file of that shape and type; metadata and tokenizer are those of the GGUF `source`."""
    rng = random.Random(1)
    file = gguf_edit.Gguf(values=dict(source.values))
    for key, value in {"embedding_length": shape.width, "feed_forward_length": shape.ffn, "block_count": shape.layers,
                       "attention.head_count": shape.heads, "attention.head_count_kv": shape.kv_heads,
                       "rope.dimension_count": shape.head_dim}.items():
        file.set(f"llama.{key}", value)
    file.set("general.name", f"random weights, width {shape.width}")
    file.set("general.file_type", form.file_type)

    def matrix(name, n_cols, n_rows):
        data = random_groups(form, n_cols * n_rows, rng)
        file.tensors.append(gguf_edit.Tensor(name, [n_cols, n_rows], form.number, data))

    def ones(name):
        file.tensors.append(gguf_edit.Tensor(name, [shape.width], gguf_edit.TYPE_F32, struct.pack("<f", 1) * shape.width))

    matrix("token_embd.weight", shape.width, shape.vocabulary)
    for layer in range(shape.layers):
        name = f"blk.{layer}."
        ones(name + "attn_norm.weight")
        matrix(name + "attn_q.weight", shape.width, shape.heads * shape.head_dim)
        matrix(name + "attn_k.weight", shape.width, shape.kv_heads * shape.head_dim)
        matrix(name + "attn_v.weight", shape.width, shape.kv_heads * shape.head_dim)
        matrix(name + "attn_output.weight", shape.heads * shape.head_dim, shape.width)
        ones(name + "ffn_norm.weight")
        matrix(name + "ffn_gate.weight", shape.width, shape.ffn)
        matrix(name + "ffn_up.weight", shape.width, shape.ffn)
        matrix(name + "ffn_down.weight", shape.ffn, shape.width)
    ones("output_norm.weight")
    file.write(path)
