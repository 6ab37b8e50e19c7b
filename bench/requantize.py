#!/usr/bin/env python3
"""Writes a GGUF file again with its matrices in another type, by the package gguf (bench/models.py finds it).

    requantize.py SOURCE TARGET Q4_0|Q8_0|F16

Matrices of the type that most bytes of SOURCE have are converted, so that a head that was kept finer stays so; for F16 all
are.
"""

import collections
import sys

from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType
from gguf.quants import dequantize, quantize

FILE_TYPES = {"Q4_0": LlamaFileType.MOSTLY_Q4_0, "Q8_0": LlamaFileType.MOSTLY_Q8_0, "F16": LlamaFileType.MOSTLY_F16}
MADE_BY_WRITER = ("GGUF.", "general.architecture", "general.file_type")


def copy_values(reader, writer):
    for field in reader.fields.values():
        if not field.name.startswith(MADE_BY_WRITER):
            element = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], element)


def main():
    source, target, name = sys.argv[1:]
    to, reader, n_bytes = GGMLQuantizationType[name], GGUFReader(source), collections.Counter()
    for tensor in reader.tensors:
        if len(tensor.shape) > 1:
            n_bytes[tensor.tensor_type] += int(tensor.n_bytes)
    converted = set(n_bytes) if name == "F16" else {n_bytes.most_common(1)[0][0]}
    writer = GGUFWriter(target, reader.get_field("general.architecture").contents())
    copy_values(reader, writer)
    writer.add_file_type(FILE_TYPES[name])
    for tensor in reader.tensors:
        data, kind = tensor.data, tensor.tensor_type
        if len(tensor.shape) > 1 and kind in converted:
            data, kind = quantize(dequantize(data, kind), to), to
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
