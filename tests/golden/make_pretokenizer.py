#!/usr/bin/env python3
"""Writes pretokenizer.bin: random texts and the words that the `tokenizers` library cuts them into, for every rule.

    python3 tests/golden/make_pretokenizer.py tests/golden/pretokenizer.bin

Needs the PyPI package tokenizers, whose regular expressions are Oniguruma's. The expressions below are those of the
models' tokenizer.json. The texts depend on the seed and on Python's Unicode tables only.

Format, little-endian: u32 number of texts; for each text u8 length of the rule's name, u16 bytes, u16 words, the name,
the UTF-8, for each word its bytes as u16.
"""

import random
import struct
import sys

from make_tokenizer import piece
from tokenizers import Regex
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Split

N_TEXTS = 120  # for each rule
SPECIALS = ["<|im_end|>", "</s>", "hello_world", "HelloWorld", "iOS'll", "x/y//\n", "  \n  x", "$1,234.56", "(a|b)",
            " `a` ``", "x\u9fa5\u9fa6\u3002", "\u0800\ud7fb", "\u30ff\u3100", "\u01ba\u01bb\u01bc"]

CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LINE_ENDS = r"\s*[\r\n]+"
SPACES = r"\s+(?!\S)|\s+"


def cl100k(digits):
    return rf"{CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{LINE_ENDS}|{SPACES}"


def o200k(ending, digits):
    upper, lower = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    before = r"[^\r\n\p{L}\p{N}]?"
    return (f"{before}{upper}*{lower}+{ending}|{before}{upper}+{lower}*{ending}|{digits}|"
            rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{LINE_ENDS}|{SPACES}")


BYTE_LEVEL = ByteLevel(add_prefix_space=False, use_regex=True)  # only as the last part: what it leaves is spelled
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|" + SPACES  # the same as a Split
BLOOM = " ?[^(\\s|[.,!?…。，、।۔،])]+"
CASED = (  # escaped, because some of these letters (the Kelvin sign) have twins
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373"
    "\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481"
    "\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b"
    "\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b"
    "\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"
    "\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
    "\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4"
    "\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf"
    "\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df"
    "\U0001e900-\U0001e943")
ASIAN = "[一-龥ࠀ-一가-\ud7ff]+"
RULES = {
    "gpt-2": [BYTE_LEVEL],
    "smollm": [Digits(individual_digits=True), BYTE_LEVEL],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, Digits(individual_digits=False), "[0-9][0-9][0-9]"],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "llama-bpe": [cl100k(r"\p{N}{1,3}")],
    "dbrx": [cl100k(r"\p{N}{1,3}")],
    "glm4": [cl100k(r"\p{N}{1,3}")],
    "qwen2": [cl100k(r"\p{N}")],
    "qwen35": [rf"{CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|"
               rf"{LINE_ENDS}|{SPACES}"],
    "tekken": [o200k("", r"\p{N}")],
    "gpt-4o": [o200k(CONTRACTION + "?", r"\p{N}{1,3}")],
    "deepseek-llm": [r"[\r\n]", rf"\s?[{CASED}]+", "\\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", ASIAN, Digits(False)],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", ASIAN, Digits(True)],
    "deepseek-v3": [r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
                    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
                    rf" ?[\p{{P}}\p{{S}}]+[\r\n]*|{LINE_ENDS}|{SPACES}"],
    "bloom": [BLOOM],
    "viking": [BLOOM, Digits(True)],
    "bailingmoe": [r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|" + SPACES],
    "seed-coder": [rf"{CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{LINE_ENDS}|{SPACES}"],
}


def words_of(cutter, text):
    return [text[begin:end] for _, (begin, end) in cutter.pre_tokenize_str(text)]


def main():
    rng = random.Random(5)
    records = []
    for name, parts in RULES.items():
        cutter = Sequence([Split(Regex(part), "isolated") if isinstance(part, str) else part for part in parts])
        for _ in range(N_TEXTS):
            text = "".join(piece(rng, SPECIALS) for _ in range(rng.randint(1, 8)))
            words = words_of(cutter, text)
            if "".join(words) != text:
                sys.exit(f"{name}: the words are not the text")
            lengths = [len(word.encode()) for word in words]
            utf8 = text.encode()
            records.append(struct.pack("<BHH", len(name), len(utf8), len(words)) + name.encode() + utf8 +
                           struct.pack(f"<{len(words)}H", *lengths))
    with open(sys.argv[1], "wb") as file:
        file.write(struct.pack("<I", len(records)) + b"".join(records))


if __name__ == "__main__":
    main()
