"""Gemma 3 270M: three layers remember everything, fifteen a window of 512; the bill shows both."""

import os
import pathlib
import unittest

from cabinet import CabinetTest

MODEL = pathlib.Path(os.environ["CABINET_TEST_DATA"]) / "gemma" / "gemma-3-270m-q4_k_m.gguf"
TOKEN_BYTES = 2 * 256 * 2  # K and V of one KV head of 256 numbers in f16, of one layer
BLOCK_TOKENS, N_FULL, N_WINDOW, WINDOW = 32, 3, 15, 512


class Gemma(CabinetTest):
    def groups(self, answer):
        return {group["kind"]: group for group in answer["kv_groups"]}

    def test_it_knows_a_capital(self):
        answer = self.json("run", MODEL, "--raw", "-p", "The capital of France is the city of", "-n", "8", "--temp", "0", "--json")
        self.assertIn("Paris", answer["text"])
        n_blocks = -(-(answer["prompt_tokens"] + answer["output_tokens"] - 1) // BLOCK_TOKENS)
        self.assertEqual(self.groups(answer)["window"]["kv_bytes"], n_blocks * BLOCK_TOKENS * N_WINDOW * TOKEN_BYTES)

    def test_its_windows_stop_growing(self):
        prompt = self.file("prompt", b"One more line of a text that does not end soon.\n" * 1365)
        answer = self.json("run", MODEL, "--raw", "-f", prompt, "-n", "4", "--temp", "0", "--json")
        self.assertGreater(answer["prompt_tokens"], 16000)
        groups = self.groups(answer)
        self.assertEqual((groups["full"]["layers"], groups["window"]["layers"], groups["window"]["window"]), (N_FULL, N_WINDOW, WINDOW))
        n_blocks = -(-(answer["prompt_tokens"] + answer["output_tokens"] - 1) // BLOCK_TOKENS)
        self.assertEqual(groups["full"]["kv_bytes"], n_blocks * BLOCK_TOKENS * N_FULL * TOKEN_BYTES)
        window_blocks = groups["window"]["kv_bytes"] / (BLOCK_TOKENS * N_WINDOW * TOKEN_BYTES)
        self.assertIn(window_blocks, (WINDOW // BLOCK_TOKENS, WINDOW // BLOCK_TOKENS + 1))
        process = self.done("inspect", MODEL).decode()
        self.assertRegex(process, r"15 window-512 layers")
        self.assertRegex(process, r"3 full layers")


if __name__ == "__main__":
    unittest.main()
