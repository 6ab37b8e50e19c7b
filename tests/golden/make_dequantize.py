#!/usr/bin/env python3
"""Writes dequantize.bin: random groups of every weight type that runs, and the numbers that they stand for.

    python3 tests/golden/make_dequantize.py tests/golden/dequantize.bin

Needs the PyPI packages gguf and numpy. All bits are random, but scales and floats are finite.

Format, little-endian: for each type u32 number in the file format, u32 elements, the bytes, the elements as f32.
"""

import struct
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from gguf.quants import dequantize

# type: where its groups hold f16 numbers
TYPES = {Type.F32: [], Type.F16: [0], Type.BF16: [], Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2],
         Type.Q8_0: [0], Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
         Type.IQ4_NL: [0], Type.IQ4_XS: [0], Type.MXFP4: []}
# what all bits of an exponent's byte are in a number that is not finite
NO_EXPONENT = {Type.F32: 0x7F, Type.BF16: 0x7F, Type.MXFP4: 0xFC}
N_GROUPS = 8
N_FLOATS = 64


def random_groups(rng, kind, n_groups):
    groups = rng.integers(0, 256, (n_groups, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    last = {Type.F32: [3], Type.BF16: [1], Type.MXFP4: [0]}
    for at in last.get(kind, [at + 1 for at in TYPES[kind]]):  # such an exponent would be infinite or not a number
        largest = NO_EXPONENT.get(kind, 0x7C)
        while (wrong := groups[:, at] & largest == largest).any():
            groups[wrong, at] = rng.integers(0, 256, wrong.sum(), dtype=np.uint8)
    if kind is Type.MXFP4:
        groups[:3, 0] = 0, 1, 2  # two exponents that make denormal numbers, and the first that does not
    return groups


def main():
    rng = np.random.default_rng(1)
    with open(sys.argv[1], "wb") as out:
        for kind in TYPES:
            elements = GGML_QUANT_SIZES[kind][0]
            groups = random_groups(rng, kind, N_FLOATS if elements == 1 else N_GROUPS)
            numbers = dequantize(groups.reshape(1, -1), kind).astype("<f4").reshape(-1)
            assert len(numbers) == len(groups) * elements and np.isfinite(numbers).all()
            out.write(struct.pack("<II", kind, len(numbers)) + groups.tobytes() + numbers.tobytes())


main()
