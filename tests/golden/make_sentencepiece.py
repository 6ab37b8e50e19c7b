#!/usr/bin/env python3
"""Writes tiny SentencePiece vocabularies as GGUF files, and random texts with the ids that the `sentencepiece` library
gives them.

    python3 tests/golden/make_sentencepiece.py tests/golden/sentencepiece

Needs the PyPI packages gguf, sentencepiece and protobuf. The library trains the vocabularies on lines that are drawn
from the words of make_tokenizer.py; then the scores of some variants are changed.

Writes <variant>.gguf and <variant>.bin, little-endian: u32 number of texts; for each text u16 bytes, u16 ids, the
UTF-8, ids as u16.
"""

import io
import pathlib
import random
import struct
import sys

import gguf
import sentencepiece
from make_tokenizer import WORDS, piece
from sentencepiece import sentencepiece_model_pb2

N_TEXTS = 600  # for each variant
USER_DEFINED = ["<table>", "\u2581\u2581", "\n\n", "\n\n\n", "hello", "[tool]", "[tool]x"]
SPECIALS = ["<s>", "</s>", "<unk>", "<0x41>", *(text.replace("\u2581", " ") for text in USER_DEFINED)]
MARKS = ["\u2581", " \u2581x"]  # not where two of them are a token: GGUF files spell that one with spaces
VARIANTS = {
    "llama": {"byte_fallback": True, "add_dummy_prefix": True},
    # a piece may have spaces inside, as Gemma's may
    "gemma": {"byte_fallback": True, "add_dummy_prefix": False, "split_by_whitespace": False,
              "user_defined_symbols": USER_DEFINED},
    "ties": {"byte_fallback": True, "add_dummy_prefix": True},  # many pieces share a score, some are above 0
    "unknown": {"byte_fallback": False, "add_dummy_prefix": True},
}


def train(rng, options):
    lines = [" ".join(rng.choice(WORDS) for _ in range(rng.randint(2, 12))) for _ in range(3000)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type="bpe", vocab_size=700, character_coverage=0.98,
        normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True, hard_vocab_limit=False,
        num_threads=1, minloglevel=2, **options)
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model.getvalue())
    return proto


def mix_scores(rng, proto):
    for entry in proto.pieces:
        if entry.type == sentencepiece_model_pb2.ModelProto.SentencePiece.NORMAL:
            entry.score = rng.choice((-1e6, -7.5, -2, 0, 0.5, 3, 1e6))


def write_gguf(path, proto):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    user_defined = sentencepiece_model_pb2.ModelProto.SentencePiece.USER_DEFINED
    writer.add_token_list([entry.piece.replace("\u2581", " ") if entry.type == user_defined else entry.piece
                           for entry in proto.pieces])
    writer.add_token_scores([entry.score for entry in proto.pieces])
    writer.add_token_types([entry.type for entry in proto.pieces])  # GGUF took over SentencePiece's numbers
    writer.add_bos_token_id(proto.trainer_spec.bos_id)
    writer.add_eos_token_id(proto.trainer_spec.eos_id)
    writer.add_unk_token_id(proto.trainer_spec.unk_id)
    writer.add_add_space_prefix(proto.normalizer_spec.add_dummy_prefix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def write_texts(path, proto, rng):
    library = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    specials = SPECIALS + MARKS * proto.normalizer_spec.add_dummy_prefix
    records = []
    for i in range(N_TEXTS):
        n_pieces = rng.randint(1, 3) if i % 50 else rng.randint(30, 50)
        text = "".join(piece(rng, specials) for _ in range(n_pieces)) if i else ""
        ids, utf8 = library.encode(text), text.encode()
        records.append(struct.pack("<HH", len(utf8), len(ids)) + utf8 + struct.pack(f"<{len(ids)}H", *ids))
    path.write_bytes(struct.pack("<I", len(records)) + b"".join(records))


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    for name, options in VARIANTS.items():
        rng = random.Random(name)
        proto = train(rng, options)
        if name == "ties":
            mix_scores(rng, proto)
        write_gguf(folder / f"{name}.gguf", proto)
        write_texts(folder / f"{name}.bin", proto, rng)


if __name__ == "__main__":
    main()
