"""cabinet run: one answer, the same one for the same seed, from a prompt in any place; the bill; short model names."""

import re
import subprocess
import unittest

from cabinet import CABINET, MODEL, TINY, CabinetTest, run

BILL = (r"\AKV bill: prompt (\d+) tokens \((\d+) reused\), output (\d+); TTFT \d+ ms, prefill \d+ tokens/s, decode [\d.]+ "
        r"tokens/s; KV held [\d.]+ \w+, [\d,]+ B/token, \d+ % of the last token's reads"
        r"; wrote [\d.]+ \w+, read [\d.]+ \w+, peak [\d.]+ \w+, [\d.]+ \w+ s\n\Z")


class OneAnswer(CabinetTest):
    def ids(self, *options, model=MODEL, **more):
        return self.json("run", model, "--json", "-n", "40", *options, **more)["token_ids"]

    def test_bill_is_one_line_on_standard_error(self):
        process = run("run", MODEL, "-p", "hi", "-n", "7", "--temp", "0")
        self.assertEqual(process.returncode, 0)
        self.assertRegex(process.stderr.decode(), BILL)
        self.assertIn(b"output 7;", process.stderr)

    def test_every_model_answers(self):
        for path in sorted(TINY.glob("*.gguf")):
            answer = self.json("run", path, "-p", "hi", "-n", "40", "--temp", "0", "--json")
            self.assertTrue(answer["finish_reason"] == "end" or answer["output_tokens"] == 40, path)

    def test_same_seed_same_answer(self):
        first = self.ids("-p", "hi", "--seed", "7")
        self.assertEqual(first, self.ids("-p", "hi", "--seed", "7"))
        self.assertEqual(first, self.ids("-p", "hi", "--seed", "7", "--threads", "1"))
        self.assertEqual(first, self.ids("-p", "hi", "--seed", "7", "--kv-memory", "1M"))
        self.assertNotEqual(first, self.ids("-p", "hi", "--seed", "8"))

    def test_memory_in_percent_of_what_is_free(self):
        self.assertEqual(self.ids("-p", "hi", "--seed", "7"), self.ids("-p", "hi", "--seed", "7", "--kv-memory", "0.5%"))
        error = self.refused("run", MODEL, "-p", "hi", "--kv-memory", "102400%", says=["free"])
        asked, free = (float(n) * 1024 ** "BKMGT".index(unit) for n, unit in re.findall(r"([\d.]+) ([BKMGT])", error))
        self.assertTrue(800 < asked / free < 1250, error)  # what is free is looked up twice

    def test_output_that_cannot_be_written(self):
        for arguments in (["run", MODEL, "-p", "hi", "-n", "3"], ["run", MODEL, "-p", "hi", "-n", "3", "--json"], ["inspect", MODEL],
                          ["help"]):
            with open("/dev/full", "wb") as full, self.subTest(arguments=arguments):
                process = subprocess.run([CABINET, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=full,
                                         stderr=subprocess.PIPE, timeout=60, check=False)
                self.assertEqual(process.returncode, 1)
                self.assertIn(b"cabinet: standard output could not be written\n", process.stderr)

    def test_without_a_seed_answers_differ(self):
        self.assertNotEqual(self.ids("-p", "hi"), self.ids("-p", "hi"))

    def test_temperature_0_needs_no_seed(self):
        first = self.ids("-p", "hi", "--temp", "0")
        self.assertEqual(first, self.ids("-p", "hi", "--temp", "0", "--seed", "9"))
        self.assertEqual(first, self.ids("-p", "hi", "--temp", "0.7", "--top-k", "1"))

    def test_sampling_options_do_something(self):
        plain = self.ids("-p", "hi", "--seed", "7", "--temp", "1")
        for options in (["--temp", "0.2"], ["--top-k", "3"], ["--top-p", "0.3"], ["--min-p", "0.5"], ["--repeat-penalty", "3"],
                        ["--presence-penalty", "5"], ["--frequency-penalty", "5"]):
            with self.subTest(options=options):
                self.assertNotEqual(plain, self.ids("-p", "hi", "--seed", "7", "--temp", "1", *options))

    def test_penalty_forbids_repetition(self):
        ids = self.ids("-p", "hi", "--temp", "0", "--presence-penalty", "100")
        self.assertEqual(len(set(ids)), len(ids))

    def test_prompt_from_anywhere(self):
        text = "What is\na bird? \u00e9\U0001f426"
        first = self.ids("-p", text, "--temp", "0")
        self.assertEqual(first, self.ids("-f", self.file("p.txt", text.encode()), "--temp", "0"))
        self.assertEqual(first, self.ids("-f", "-", "--temp", "0", stdin=text.encode()))

    def test_system_prompt_and_raw_change_the_prompt(self):
        def prompt_tokens(*options):
            return self.json("run", MODEL, "-p", "hi", "-n", "1", "--json", *options)["prompt_tokens"]

        plain = prompt_tokens()
        self.assertGreater(prompt_tokens("--system", "Be brief."), plain)
        self.assertLess(prompt_tokens("--raw"), plain)

    def test_long_prompt_in_chunks(self):
        """More tokens than one step takes, up to the last one that the context holds."""
        path = self.edited(lambda file: file.set("llama.context_length", 2048))
        answer = self.json("run", path, "--raw", "-p", "word " * 400, "--json", "--temp", "0")
        self.assertGreater(answer["prompt_tokens"], 1024)
        self.assertEqual(answer["finish_reason"], "context")


class ShortName(CabinetTest):
    def test_in_the_cache_folder(self):
        models = self.folder / "cabinet" / "models"
        models.mkdir(parents=True)
        (models / "SmolLM2-135M-Instruct.Q4_1.gguf").symlink_to(MODEL)
        report = self.json("inspect", "smollm2", "--json", environment={"XDG_CACHE_HOME": str(self.folder)})
        self.assertEqual(report["vocabulary"], 288)

    def test_under_home(self):
        models = self.folder / ".cache" / "cabinet" / "models"
        models.mkdir(parents=True)
        (models / "SmolLM2-135M-Instruct.Q4_1.gguf").symlink_to(MODEL)
        home = {"HOME": str(self.folder), "XDG_CACHE_HOME": ""}
        self.assertEqual(self.json("inspect", "smollm2", "--json", environment=home)["vocabulary"], 288)

    def test_not_fetched(self):
        self.refused("run", "smollm2", "-p", "hi", says=["smollm2", "make demo"], environment={"XDG_CACHE_HOME": str(self.folder)})

    def test_unknown(self):
        self.refused("run", "largellm", "-p", "hi", says=["largellm", "smollm2"])


class WeightCache(CabinetTest):
    def test_no_folder_for_one(self):
        expected = self.done("run", MODEL, "--raw", "-p", "a", "-n", "4", "--temp", "0", "--weight-cache", "off")
        for value in ("", "not/absolute", "/proc/self/nothing"):
            nowhere = {"HOME": value, "XDG_CACHE_HOME": value}
            self.assertEqual(self.done("run", MODEL, "--raw", "-p", "a", "-n", "4", "--temp", "0", environment=nowhere), expected)

    def test_sizes(self):
        self.refused("run", MODEL, "-p", "a", "--weight-cache", "much", code=2, begins="cabinet run: ", says=["--weight-cache"])


class Help(CabinetTest):
    def test_lists_verbs_and_options(self):
        for command in (["help"], ["--help"]):
            text = self.done(*command).decode()
            for verb in ("run", "inspect", "bench", "perplexity", "pull", "list", "rm"):
                self.assertRegex(text, rf"(?m)^  {verb} ")
        for verb in ("run", "inspect", "bench", "perplexity", "pull", "list"):
            self.assertIn("--json", self.done(verb, "--help").decode())
        self.assertRegex(self.done("--version").decode(), r"\Acabinet \d+\.\d+")


if __name__ == "__main__":
    unittest.main()
