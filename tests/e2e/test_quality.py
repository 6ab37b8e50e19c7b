"""`cabinet quality`: its controls, its figures beside those of `cabinet perplexity`, its JSON, and what it refuses."""

import math
import os
import pathlib
import random
import unittest

from cabinet import MODEL, CabinetTest, run

LETTERS = "BDFGJKLMPQVXZ0123456789"  # no merge of the tiny vocabulary begins with these: a token is a byte
ROW = {"setting", "reference", "text", "depth", "scored_tokens", "bytes_per_token", "kl_mean", "kl_median", "kl_p99",
       "kl_max", "top1_agreement", "delta_ln_ppl", "delta_ln_ppl_stderr", "retrieval_accuracy"}
SMOLLM2 = pathlib.Path(os.environ.get("CABINET_TEST_DATA", "build/data")) / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


def text_of(n, seed=1):
    return "".join(random.Random(seed).choices(LETTERS, k=n))


class QualityTest(CabinetTest):
    def text(self, content, name="letters.txt"):
        return self.file(name, content.encode())

    def measure(self, *options, model=MODEL):
        return self.json("quality", model, "--json", *options)

    @staticmethod
    def rows(answer, setting):
        return [row for row in answer["rows"] if row["setting"] == setting]


class Figures(QualityTest):
    def test_quick(self):
        """The controls are where they belong, and every row has its keys."""
        answer = self.measure("--quick", "-f", self.text(text_of(300), "a.txt"), "-f", self.text(text_of(300, 2), "b.txt"))
        self.assertEqual([text["text"] for text in answer["texts"]], ["a", "b"])
        self.assertEqual([s["setting"] for s in answer["settings"]][:4], ["f32", "f16", "f16-again", "bf16"])
        for row in answer["rows"]:
            self.assertEqual(set(row), ROW)
            self.assertEqual(row["reference"], "f32" if row["setting"] == "f16" else "f16")
            self.assertEqual(row["scored_tokens"], 128)
        for row in self.rows(answer, "f16-again"):
            self.assertEqual((row["kl_max"], row["kl_mean"], row["delta_ln_ppl"], row["delta_ln_ppl_stderr"],
                              row["top1_agreement"]), (0, 0, 0, 0, 1))
        for row in self.rows(answer, "bf16"):
            self.assertGreater(row["kl_mean"], 1e-7)
            self.assertLess(row["kl_mean"], 1e-2)
        means = {s: self.rows(answer, s)[0]["kl_mean"] for s in ("f16", "bf16", "q8", "plain4")}
        self.assertLess(means["f16"], means["bf16"])
        self.assertLess(means["q8"], means["plain4"])

    def test_sizes(self):
        answer = self.measure("--quick", "-f", self.text(text_of(300)), "--contexts", "0")
        sizes = {s["setting"]: s["bytes_per_token"] for s in answer["settings"]}
        self.assertEqual(sizes["f32"], 2 * sizes["f16"])
        self.assertEqual(sizes["bf16"], sizes["f16"])
        for setting in answer["settings"]:
            self.assertGreaterEqual(setting["all_in_bytes"], setting["all_in_tokens"] * setting["bytes_per_token"])
            self.assertEqual(setting["all_in_tokens"], 255)
        self.assertEqual(answer["retrieval"], [])

    def test_the_same_as_perplexity(self):
        """Another implementation of the same figures: perplexity's, by way of a reference file."""
        text, reference = self.text(text_of(128)), self.folder / "f16.ref"
        row = self.rows(self.measure("--ctx", "128", "-f", text, "--contexts", "0"), "bf16")[0]
        ours = self.json("perplexity", MODEL, "-f", text, "--ctx", "128", "--json", "--save-reference", reference)
        other = self.json("perplexity", MODEL, "-f", text, "--ctx", "128", "--json", "--kv", "bf16", "--reference", reference)
        # perplexity scores one token less at the front of the second half
        self.assertEqual((row["scored_tokens"], other["scored_tokens"]), (64, 63))
        self.assertTrue(math.isclose(row["kl_mean"], other["kl_mean"], rel_tol=0.2), (row, other))
        self.assertLess(abs(row["delta_ln_ppl"] - math.log(other["ppl"] / ours["ppl"])), 5e-4)

    def test_positions(self):
        """A window of 512 is half of one of 1,024: what stands in both is the same."""
        def longer(file):
            file.set("llama.context_length", 1024)
        model = self.edited(longer, MODEL)
        text = self.text(text_of(1100))
        long = self.measure("--ctx", "1024", "-f", text, "--contexts", "0", model=model)
        short = self.measure("--ctx", "512", "-f", text, "--contexts", "0", model=model)
        self.assertEqual([row["depth"] for row in self.rows(long, "bf16")], [512, 1024])
        self.assertEqual(self.rows(long, "bf16")[0], self.rows(short, "bf16")[0])

    def test_windows_and_short_texts(self):
        answer = self.measure("--ctx", "100", "--windows", "5", "-f", self.text(text_of(310), "a.txt"),
                              "-f", self.text(text_of(80), "b.txt"), "--contexts", "0")
        self.assertEqual([(t["tokens"], t["windows"]) for t in answer["texts"]], [(310, 3), (80, 1)])
        self.assertEqual([(row["depth"], row["scored_tokens"]) for row in self.rows(answer, "bf16")], [(100, 150), (80, 40)])

    def test_list_of_formats(self):
        answer = self.measure("--quick", "-f", self.text(text_of(300)), "--contexts", "0", "--kv", "q8,bf16,layers=0-0:f32,f16,bf16")
        names = [s["setting"] for s in answer["settings"] if s["setting"] != "plain4"]
        self.assertEqual(names, ["f32", "f16", "f16-again", "bf16", "q8", "bf16,layers=0-0:f32"])

    def test_tables(self):
        output = self.done("quality", MODEL, "--quick", "-f", self.text(text_of(300)), "--kv", "q8").decode()
        self.assertIn("letters, second half of 256 tokens (128 scored)", output)
        self.assertRegex(output, r"f16-again +0 +0 +0 +0 +100.00 % +\+0.00000 \+/- 0.00000\n")
        self.assertIn("against f32", output)
        self.assertIn("does not count", output)  # a tiny random model finds nothing again


class Retrieval(QualityTest):
    @unittest.skipUnless(SMOLLM2.exists(), "no demo model")
    def test_f16_finds_what_it_is_asked_for(self):
        text = self.text("The sun was high, and the people of the town went about their work. " * 40)
        answer = self.measure("--ctx", "256", "-f", text, "--contexts", "2", "--kv", "q8", model=SMOLLM2)
        mine = {(r["task"], r["tokens"]): r for r in answer["retrieval"] if r["setting"] == "f16"}
        self.assertTrue(any(r["counts"] and r["accuracy"] >= 0.9 for r in mine.values()), mine)
        for recall in answer["retrieval"]:
            self.assertIn(recall["task"], ("repeat", "passkey", "lookup"))
            if recall["setting"] == "f16-again":
                self.assertEqual(recall["accuracy"], mine[recall["task"], recall["tokens"]]["accuracy"])
        self.assertGreaterEqual(self.rows(answer, "q8")[0]["retrieval_accuracy"], 0.8)


class Refused(QualityTest):
    def test_usage(self):
        for options in (["--ctx", "63"], ["--windows", "0"], ["--threads", "0"], ["--contexts", "-1"]):
            self.refused("quality", MODEL, *options, says=[options[1]], code=2, begins="cabinet quality: ")

    def test_formats(self):
        text = self.text(text_of(300))
        for name in ("q9", "plain4", ",", "q8,,q4"):
            self.refused("quality", MODEL, "--quick", "-f", text, "--kv", name, says=["f16", "q8"])
        many = ",".join(f"q8,layers={i}:f16" for i in range(16))
        self.refused("quality", MODEL, "--quick", "-f", text, "--kv", many, says=["too many"])

    def test_texts(self):
        self.refused("quality", MODEL, "--quick", "-f", self.folder / "none.txt", says=["none.txt"])
        self.refused("quality", MODEL, "--quick", "-f", self.text("abc"), says=["letters.txt", "3", "64"])
        process = run("quality", MODEL, "--quick", environment={"XDG_CACHE_HOME": str(self.folder)})
        self.assertEqual(process.returncode, 1)
        self.assertIn("-f FILE", process.stderr.decode())

    def test_sizes(self):
        text = self.text(text_of(1000))
        self.refused("quality", MODEL, "-f", text, "--ctx", "1000", says=["1000", "512"])
        self.refused("quality", MODEL, "-f", text, "--kv-memory", "48K", says=["memory"])


if __name__ == "__main__":
    unittest.main()
