"""Reads a small GGUF file into Python values, lets a test change them, and writes it again. Standard library only.

`Gguf.values` is {key: (type, value)}, an array's value is (element type, list); `Gguf.tensors` a list of Tensor. What
write() makes is valid if the values are; `raw_head` and friends of a test may then damage the bytes further.
"""

import pathlib
import struct
from dataclasses import dataclass, field

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FORMATS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}
TYPE_F32, TYPE_F16, TYPE_IQ3_S = 0, 1, 21
ALIGNMENT = 32


@dataclass
class Tensor:
    name: str
    dims: list
    type: int
    data: bytes
    offset: int = None  # None: where it belongs


@dataclass
class Gguf:
    values: dict = field(default_factory=dict)
    tensors: list = field(default_factory=list)
    version: int = 3

    def tensor(self, name):
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def remove(self, name):
        self.tensors.remove(self.tensor(name))

    def set(self, key, value, kind=None):
        self.values[key] = (self.values[key][0] if kind is None else kind, value)

    def remove_template(self):
        """And a special token without which none that is built in fits."""
        self.values.pop("tokenizer.chat_template")
        self.rename_tokens({b"<|im_start|>": b"<|renamed|>"})

    def rename_tokens(self, names):
        element, tokens = self.values["tokenizer.ggml.tokens"][1]
        self.set("tokenizer.ggml.tokens", (element, [names.get(token, token) for token in tokens]))

    def write(self, path):
        pathlib.Path(path).write_bytes(self.bytes())
        return path

    def bytes(self):
        head = b"GGUF" + struct.pack("<IQQ", self.version, len(self.tensors), len(self.values))
        for key, (kind, value) in self.values.items():
            head += put_string(key) + struct.pack("<I", kind) + put(kind, value)
        data, n_bytes = [], 0
        for tensor in self.tensors:
            offset = n_bytes if tensor.offset is None else tensor.offset
            head += put_string(tensor.name) + struct.pack(f"<I{len(tensor.dims)}QIQ", len(tensor.dims), *tensor.dims,
                                                          tensor.type, offset)
            data += [tensor.data, bytes(-len(tensor.data) % ALIGNMENT)]
            n_bytes += len(data[-2]) + len(data[-1])
        return b"".join([head, bytes(-len(head) % ALIGNMENT), *data])


def put_string(text):
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw)) + raw


def put(kind, value):
    if kind == STRING:
        return put_string(value)
    if kind == ARRAY:
        element, items = value
        return struct.pack("<IQ", element, len(items)) + b"".join(put(element, item) for item in items)
    return struct.pack("<" + FORMATS[kind], value)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values[0] if len(values) == 1 else values

    def string(self):
        length = self.take("Q")
        self.at += length
        return self.data[self.at - length:self.at]

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            element, n = self.take("I"), self.take("Q")
            return element, [self.value(element) for _ in range(n)]
        return self.take(FORMATS[kind])


def read(path):
    reader = Reader(pathlib.Path(path).read_bytes())
    assert reader.take("4s") == b"GGUF"
    file = Gguf(version=reader.take("I"))
    n_tensors, n_values = reader.take("QQ")
    for _ in range(n_values):
        key, kind = reader.string().decode(), reader.take("I")
        file.values[key] = (kind, reader.value(kind))
    infos = []
    for _ in range(n_tensors):
        name, n_dims = reader.string().decode(), reader.take("I")
        dims = [reader.take("Q") for _ in range(n_dims)]
        infos.append((name, dims, *reader.take("IQ")))
    start = reader.at + -reader.at % ALIGNMENT
    ends = sorted(offset for *_, offset in infos) + [len(reader.data) - start]
    for name, dims, kind, offset in infos:
        end = next(end for end in ends if end > offset)
        file.tensors.append(Tensor(name, dims, kind, reader.data[start + offset:start + end]))
    return file


def part_name(stem, index, n_parts):
    return f"{stem}-{index + 1:05}-of-{n_parts:05}.gguf"


def split(whole, n_parts, has_metadata_first=False):
    """A model's parts as gguf-split cuts them: a part's metadata is its number, but for the first one's."""
    shares = n_parts - 1 if has_metadata_first else n_parts
    n = len(whole.tensors)
    cuts = [n * i // shares for i in range(shares + 1)]
    lists = [whole.tensors[begin:end] for begin, end in zip(cuts, cuts[1:])]
    parts = []
    for number, tensors in enumerate([[], *lists] if has_metadata_first else lists):
        part = Gguf(values=dict(whole.values) if number == 0 else {}, tensors=tensors)
        part.set("split.no", number, U16)
        part.set("split.count", n_parts, U16)
        part.set("split.tensors.count", n, I32)
        parts.append(part)
    return parts
