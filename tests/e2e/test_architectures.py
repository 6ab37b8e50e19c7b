"""Every architecture with the vocabulary of a real model, random weights, and texts whose ids are known."""

import os
import pathlib
import unittest

import random_model
from cabinet import CabinetTest

VOCABULARIES = pathlib.Path(os.environ["CABINET_TEST_DATA"]) / "vocab"
SEPARATOR = "\n__ggml_vocab_test__\n"
# What is converted with such a vocabulary, or would be.
PAIRS = {"llama": "llama-spm", "qwen2": "qwen2", "qwen3": "qwen2", "gemma2": "gemma-4", "gemma3": "gemma-4", "phi3": "phi-3",
         "olmo2": "gpt-2", "granite": "refact", "smollm3": "llama-bpe"}


class Architectures(CabinetTest):
    def check(self, architecture):
        vocabulary = VOCABULARIES / f"ggml-vocab-{PAIRS[architecture]}.gguf"
        texts = (vocabulary.parent / (vocabulary.name + ".inp")).read_text(encoding="utf-8").split(SEPARATOR)
        ids = [line.split() for line in (vocabulary.parent / (vocabulary.name + ".out")).read_text().splitlines()]
        text, known = max(zip(texts, ids), key=lambda pair: len(pair[1]))
        model = random_model.make(architecture, vocabulary).write(self.folder / "model.gguf")
        prompt = self.file("prompt", text.encode())
        report = self.json("inspect", model, "--json")
        self.assertEqual((report["architecture"], report["layers"]), (architecture, random_model.N_LAYERS))
        answers = [self.json("run", model, "--raw", "-f", prompt, "-n", "40", "--temp", "0", "--json", "--threads", str(n))
                   for n in (1, 2)]
        self.assertEqual(answers[0]["prompt_tokens"], len(known))
        self.assertEqual(answers[0]["token_ids"], answers[1]["token_ids"])
        self.assertEqual(answers[0]["text"], answers[1]["text"])
        windows = [group["window"] for group in answers[0]["kv_groups"]]
        self.assertEqual(sorted(windows), {"llama": [32], "gemma2": [0, 32], "gemma3": [0, 32]}.get(architecture, [0]))
        for group in answers[0]["kv_groups"]:
            if group["window"]:  # at most two blocks of a window of 32
                block_bytes = 2 * group["layers"] * random_model.N_KV_HEADS * random_model.HEAD_DIM * 2 * 32
                self.assertIn(group["kv_bytes"], (block_bytes, 2 * block_bytes))


for name in PAIRS:
    setattr(Architectures, f"test_{name}", lambda self, name=name: self.check(name))

if __name__ == "__main__":
    unittest.main()
