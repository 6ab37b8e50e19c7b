"""Perplexity of real models on 8,192 tokens: within 0.5 % of llama.cpp's (tests/golden/make_perplexity.py), and in little
memory, for all that every second row's logits are wanted."""

import json
import os
import pathlib
import resource
import sys
import unittest

from cabinet import TINY, CabinetTest

GOLDEN = TINY.parent
sys.path.insert(0, str(GOLDEN))
from topics_text import topics_text  # noqa: E402

DATA = pathlib.Path(os.environ["CABINET_TEST_DATA"])
PEER = json.loads((GOLDEN / "perplexity.json").read_text())


class PeerPerplexity(CabinetTest):
    def check(self, folder, name):
        text, peer = self.file("topics.txt", topics_text()), PEER[name]
        answer = self.json("perplexity", DATA / folder / name, "-f", text, "--ctx", str(peer["context_tokens"]), "--chunks",
                           str(peer["tokens"] // peer["context_tokens"]), "--kv", "f16", "--json")
        print(f"{name}: perplexity {answer['ppl']:.4f}, llama.cpp's {peer['ppl']:.4f}", flush=True)
        self.assertEqual(answer["scored_tokens"], peer["scored_tokens"])
        self.assertLess(abs(answer["ppl"] / peer["ppl"] - 1), 0.005)
        self.assertLess(abs(answer["ppl_stderr"] / peer["ppl_stderr"] - 1), 0.02)

    def test_smollm2(self):
        self.check("models", "SmolLM2-135M-Instruct.Q4_1.gguf")

    def test_gemma(self):
        """Its 1,023 wanted rows of a chunk would take 1 GiB at once."""
        self.check("gemma", "gemma-3-270m-q4_k_m.gguf")
        self.assertLess(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, 1 << 20, "KiB")


if __name__ == "__main__":
    unittest.main()
