"""The demo model answers a question, and its figures are those that are told about it."""

import os
import pathlib
import re
import unittest

from cabinet import CabinetTest, run

MODEL = pathlib.Path(os.environ["CABINET_TEST_DATA"]) / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


class DemoModel(CabinetTest):
    def test_it_knows_a_capital(self):
        answer = self.json("run", MODEL, "-p", "What is the capital of France?", "-n", "40", "--temp", "0", "--json")
        self.assertIn("Paris", answer["text"])
        self.assertEqual(answer["finish_reason"], "end")

    def test_it_remembers_the_conversation(self):
        turns = b"The secret word is banana.\nWhat is the secret word?\n"
        process = run("run", MODEL, "-n", "60", "--temp", "0", stdin=turns)
        self.assertEqual(process.returncode, 0)
        self.assertIn(b"banana", process.stdout.splitlines()[-1])
        reused = [int(n) for n in re.findall(rb"\((\d+) reused\)", process.stderr)]
        self.assertEqual(reused[0], 0)
        self.assertGreater(reused[1], 30)

    def test_what_its_memory_costs(self):
        report = self.json("inspect", MODEL, "--json")
        self.assertEqual((report["architecture"], report["layers"], report["kv_bytes_per_token"]), ("llama", 30, 23040))
        self.assertTrue(4100 < report["crossover_tokens"] < 4300, report["crossover_tokens"])


if __name__ == "__main__":
    unittest.main()
