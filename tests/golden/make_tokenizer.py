#!/usr/bin/env python3
"""Writes tokenizer_smollm2.bin: random texts and the ids that the `tokenizers` library gives them.

    python3 tests/golden/make_tokenizer.py SmolLM2-135M-Instruct.Q4_1.gguf tests/golden/tokenizer_smollm2.bin

Needs the PyPI packages gguf and tokenizers. Vocabulary and merges come from the GGUF file; the pre-tokenisation is
that of SmolLM2's tokenizer.json. The texts depend on the seed and on Python's Unicode tables only.

Format, little-endian: u32 number of texts; for each text u8 parse_special, u16 bytes, u16 ids, the UTF-8, ids as u16.
"""

import random
import struct
import sys
import unicodedata

from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

N_TEXTS = 10_000
CONTROL = 3
SPACES = " \t\n\r\v\f\x85\xa0\u1680\u2000\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000\u180e\u200b\ufeff"
RANGES = [  # one script or kind of sign each
    (0x20, 0x7E), (0xA1, 0xFF), (0x100, 0x24F), (0x250, 0x2AF), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F),
    (0x531, 0x58F), (0x591, 0x5F4), (0x600, 0x6FF), (0x900, 0x97F), (0x980, 0x9FF), (0xE01, 0xE5B),
    (0x10A0, 0x10FF), (0x1200, 0x137C), (0x1780, 0x17F9), (0x1E00, 0x1FFF), (0x2010, 0x205E), (0x2070, 0x209C),
    (0x20A0, 0x20BF), (0x2150, 0x218B), (0x2190, 0x23FF), (0x2460, 0x24FF), (0x2500, 0x27BF), (0x3001, 0x303F),
    (0x3041, 0x309F), (0x30A0, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xE000, 0xE100), (0xFB00, 0xFB4F),
    (0xFF01, 0xFFEE), (0x10330, 0x1034A), (0x12000, 0x12399), (0x1D400, 0x1D7FF), (0x1F300, 0x1F6FF),
    (0x1F900, 0x1F9FF), (0x20000, 0x2A6DF), (0xE0020, 0xE007F), (0x100000, 0x100100),
]
ASSIGNED = [[chr(c) for c in range(low, high + 1) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
            for low, high in RANGES]
NUMBERS = [chr(c) for c in range(0x30, 0x1FBFA) if unicodedata.category(chr(c))[0] == "N"]
MARKS = [chr(c) for c in range(0x300, 0x1E94B) if unicodedata.category(chr(c))[0] == "M"]
WORDS = """the of and to in is that with Hello world function return value tokens internationalisation x y über
    naïve coöperate Straße año été нещо на Български Привет мир γνῶθι שלום مرحبا नमस्ते สวัสดี こんにちは 世界 안녕하세요
    def class import self.__init__ foo_bar camelCase HTTPServer https://example.org/a?b=c&d=%20 0x1F 3.14159 1e-9
    <div> </p> {"k": [1, 2]} #include <stdio.h> && || != -> => // /* */ ... --- *** === $x @y""".split()
CONTRACTIONS = "'s 't 're 've 'm 'll 'd 'S 'T 'RE 'Ve 'LL '\u017f ’s ’re '' 'x 'r 'v 'l".split(" ")
EMOJI = ["👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪", "🇩", "❤️", "🧑🏿‍🚀", "✅", "😶‍🌫️", "1️⃣", "‍", "\ufe0f", "🦙"]


def piece(rng, specials):
    kind = rng.randrange(13)
    if kind <= 2:
        return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 4)))
    if kind == 3:
        return rng.choice(WORDS) + rng.choice(CONTRACTIONS) + rng.choice(["", " ", "x", "5"])
    if kind == 4:
        return "".join(rng.choice(SPACES) for _ in range(rng.randint(1, 6)))
    if kind == 5:
        return rng.choice(" \n\t\r") * rng.randint(1, 12)
    if kind == 6:
        return "".join(rng.choice("0123456789") for _ in range(rng.randint(1, 8)))
    if kind == 7:
        return "".join(rng.choice(NUMBERS) for _ in range(rng.randint(1, 3)))
    if kind == 8:
        return rng.choice(EMOJI) * rng.randint(1, 2)
    if kind == 9:
        return rng.choice("aeoАкか ") + "".join(rng.choice(MARKS) for _ in range(rng.randint(1, 3)))
    if kind == 10:
        # control characters, and code points far out; SmolLM2 has no token for some of their bytes
        return chr(rng.choice([rng.randrange(0x20), 0x7F, rng.randrange(0x80, 0xA0), 0x4FFFF, 0x90000, 0x10FFFD]))
    if kind == 11:
        special = rng.choice(specials)
        return special if rng.random() < 0.7 else special[:rng.randint(1, len(special))]
    script = rng.choice(ASSIGNED)
    return "".join(rng.choice(script) for _ in range(rng.randint(1, 8)))


def library_tokenizer(tokens, merges, specials):
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(special, special=True, normalized=False) for special in specials])
    return tokenizer


def main():
    model, out = sys.argv[1:]
    fields = GGUFReader(model).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    specials = [token for token, kind in zip(tokens, types) if kind == CONTROL]
    by_flag = [library_tokenizer(tokens, merges, []), library_tokenizer(tokens, merges, specials)]

    rng = random.Random(2)
    records = []
    for i in range(N_TEXTS):
        n_pieces = rng.randint(1, 3) if i % 100 else rng.randint(40, 80)
        text = "".join(piece(rng, specials) for _ in range(n_pieces)) if i else ""
        special = i % 2
        ids = by_flag[special].encode(text, add_special_tokens=False).ids
        utf8 = text.encode()
        records.append(struct.pack("<BHH", special, len(utf8), len(ids)) + utf8 + struct.pack(f"<{len(ids)}H", *ids))
    with open(out, "wb") as file:
        file.write(struct.pack("<I", len(records)) + b"".join(records))


if __name__ == "__main__":
    main()
