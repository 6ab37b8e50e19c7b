"""`cabinet perplexity`: against figures computed here, from a model that is simple enough for that; its reference files;
and what it refuses."""

import functools
import math
import random
import struct
import unittest

from cabinet import MODEL, CabinetTest, run

BOS_KEY = "tokenizer.ggml.add_bos_token"
N_VOCAB = 288
LETTERS = "BDFGJKLMPQVXZ0123456789"  # no merge of the tiny vocabulary begins with these: a token is a byte


def text_of(n, seed=1):
    return "".join(random.Random(seed).choices(LETTERS, k=n))


def floats(data):
    return struct.unpack(f"<{len(data) // 4}f", data)


class Bigram:
    """The tiny model without what its layers add: its prediction depends on the latest token alone."""

    def __init__(self, scale=1.0):
        self.scale = scale

    def edit(self, file):
        for tensor in file.tensors:
            if tensor.name.endswith(("attn_output.weight", "ffn_down.weight")):
                tensor.data = bytes(len(tensor.data))
        norm = file.tensor("output_norm.weight")
        norm.data = struct.pack("<64f", *(self.scale * x for x in floats(norm.data)[:64]))
        self.norm = floats(norm.data)
        table = floats(file.tensor("token_embd.weight").data)
        self.embedding = [table[i * 64:(i + 1) * 64] for i in range(N_VOCAB)]
        self.epsilon = file.values["llama.attention.layer_norm_rms_epsilon"][1]

    @functools.lru_cache(None)
    def log_probabilities(self, token):
        x = self.embedding[token]
        inverse = 1 / math.sqrt(sum(a * a for a in x) / len(x) + self.epsilon)
        hidden = [a * inverse * w for a, w in zip(x, self.norm)]
        logits = [sum(a * b for a, b in zip(hidden, row)) for row in self.embedding]
        norm = math.log(sum(map(math.exp, logits)))
        return [logit - norm for logit in logits]


def scored(tokens, n_context):
    """(position in the chunk of the scored token, the token before it, the token)."""
    for start in range(0, len(tokens) - n_context + 1, n_context):
        for i in range(n_context // 2, n_context - 1):
            yield i + 1, tokens[start + i], tokens[start + i + 1]


def perplexity(nll):
    mean = sum(nll) / len(nll)
    variance = sum(x * x for x in nll) / len(nll) - mean * mean
    return math.exp(mean), math.exp(mean) * math.sqrt(variance / (len(nll) - 1))


class PerplexityTest(CabinetTest):
    def model(self, name, change):
        path = self.edited(change)
        return path.rename(self.folder / name)

    def text(self, content, name="text.txt"):
        return self.file(name, content if isinstance(content, bytes) else content.encode())

    def measure(self, model, text, *options):
        return self.json("perplexity", model, "-f", text, "--json", *options)

    def assert_close(self, value, expected, relative=2e-5):
        self.assertTrue(math.isclose(value, expected, rel_tol=relative), f"{value} is not {expected}")


class Figures(PerplexityTest):
    def test_second_halves_of_chunks_are_scored(self):
        bigram, content = Bigram(), text_of(211)
        model = self.model("bigram.gguf", bigram.edit)
        for n_context in (32, 33, 9):
            answer = self.measure(model, self.text(content), "--ctx", str(n_context))
            rows = list(scored(content.encode(), n_context))
            nll = [-bigram.log_probabilities(before)[token] for _, before, token in rows]
            value, error = perplexity(nll)
            self.assert_close(answer["ppl"], value)
            self.assert_close(answer["ppl_stderr"], error, 1e-3)
            self.assertEqual((answer["tokens"], answer["scored_tokens"], answer["chunks"], answer["context_tokens"]),
                             (211, len(rows), 211 // n_context, n_context))
            self.assertEqual(answer["by_depth"][0]["first"], n_context // 2 + 1)
            self.assertEqual(answer["by_depth"][-1]["last"], n_context - 1)
            for depth in answer["by_depth"]:
                part = [x for x, (at, _, _) in zip(nll, rows) if depth["first"] <= at <= depth["last"]]
                self.assert_close(depth["ppl"], math.exp(sum(part) / len(part)))
            parts = [(depth["first"], depth["last"]) for depth in answer["by_depth"]]
            self.assertTrue(all(a[1] + 1 == b[0] for a, b in zip(parts, parts[1:])))

    def test_divergence(self):
        one, other, content = Bigram(), Bigram(scale=1.1), text_of(160)
        text, reference = self.text(content), self.folder / "one.ref"
        self.measure(self.model("one.gguf", one.edit), text, "--ctx", "40", "--save-reference", reference)
        answer = self.measure(self.model("other.gguf", other.edit), text, "--ctx", "40", "--reference", reference)
        kl, same, nll = [], [], []
        for _, before, token in scored(content.encode(), 40):
            p, q = one.log_probabilities(before), other.log_probabilities(before)
            kl.append(sum(math.exp(a) * (a - b) for a, b in zip(p, q)))
            same.append(p.index(max(p)) == q.index(max(q)))
            nll.append(-p[token])
        self.assert_close(answer["kl_mean"], sum(kl) / len(kl), 1e-3)
        kl_at = dict(zip(range(len(kl)), sorted(kl)))
        for key, fraction in (("kl_median", 0.5), ("kl_p99", 0.99), ("kl_max", 1)):
            at = fraction * (len(kl) - 1)
            below, above = kl_at[math.floor(at)], kl_at[math.ceil(at)]
            self.assert_close(answer[key], below + (at - math.floor(at)) * (above - below), 1e-3)
        self.assertEqual(answer["top1_agreement"], sum(same) / len(same))
        self.assert_close(answer["reference_ppl"], perplexity(nll)[0])
        self.assert_close(answer["reference_ppl_stderr"], perplexity(nll)[1], 1e-3)
        depths = [depth["kl_mean"] for depth in answer["by_depth"]]
        self.assertLess(min(depths), answer["kl_mean"])
        self.assertGreater(max(depths), answer["kl_mean"])

    def test_top_token_that_differs(self):
        """Against predictions turned round, no most likely token is the same."""
        text, reference = self.text(text_of(64)), self.folder / "a.ref"
        self.measure(self.model("a.gguf", Bigram().edit), text, "--ctx", "32", "--save-reference", reference)
        answer = self.measure(self.model("b.gguf", Bigram(scale=-1).edit), text, "--ctx", "32", "--reference", reference)
        self.assertEqual(answer["top1_agreement"], 0)

    def test_uniform_predictions(self):
        answer = self.measure(self.model("flat.gguf", Bigram(scale=0).edit), self.text(text_of(100)), "--ctx", "20")
        self.assert_close(answer["ppl"], N_VOCAB, 1e-12)
        self.assertLess(answer["ppl_stderr"], 1e-9)

    def test_a_run_is_its_own_reference(self):
        text, reference = self.text(text_of(600)), self.folder / "self.ref"
        saved = self.measure(MODEL, text, "--ctx", "128", "--save-reference", reference, "--kv", "f32", "--threads", "1")
        self.assertEqual(reference.stat().st_size, 40 + saved["scored_tokens"] * (20 + 2 * N_VOCAB))
        answer = self.measure(MODEL, text, "--ctx", "128", "--reference", reference, "--kv", "f32", "--threads", "2")
        self.assertEqual((answer["ppl"], answer["reference_ppl"]), (saved["ppl"], saved["ppl"]))
        self.assertLess(answer["kl_max"], 2e-8)
        self.assertEqual(answer["top1_agreement"], 1)
        lossy = self.measure(MODEL, text, "--ctx", "128", "--reference", reference, "--kv", "bf16")
        self.assertGreater(lossy["kl_mean"], 2e-8)
        self.assertLess(lossy["kl_mean"], 1e-2)

    def test_bos_stands_before_every_chunk(self):
        content = text_of(64)
        # Tokens are shifted by one: chunk 2 begins at character 31.
        changed = content[:31] + ("B" if content[31] != "B" else "D") + content[32:]
        for has_bos in (True, False):
            model = self.model("bos.gguf", lambda file, has_bos=has_bos: file.set(BOS_KEY, has_bos))
            answers = [self.measure(model, self.text(c), "--ctx", "32") for c in (content, changed)]
            self.assertEqual(answers[0]["tokens"], 64 + has_bos)
            self.assertEqual(answers[0]["ppl"] == answers[1]["ppl"], has_bos)

    def test_markup_in_a_text_is_text(self):
        """The name of a control token does not become that token."""
        answer = self.measure(MODEL, self.text("<|endoftext|>" * 8), "--ctx", "16")
        self.assertGreater(answer["tokens"], 8 * 5)

    def test_limits(self):
        text = self.text(text_of(200))
        self.assertEqual(self.measure(MODEL, text, "--ctx", "32", "--chunks", "2")["chunks"], 2)
        self.assertEqual(self.measure(MODEL, text, "--ctx", "32", "--chunks", "99")["chunks"], 6)
        whole = self.measure(MODEL, self.text(text_of(600)))
        self.assertEqual((whole["context_tokens"], whole["chunks"]), (512, 1))  # the model's own context

    def test_text(self):
        content = text_of(100)
        process = run("perplexity", MODEL, "-f", "-", "--ctx", "32", "--kv", "f32", stdin=content.encode())
        self.assertEqual(process.returncode, 0, process.stderr)
        answer = self.measure(MODEL, self.text(content), "--ctx", "32", "--kv", "f32")
        self.assertIn(f"{answer['ppl']:.4f} +/- {answer['ppl_stderr']:.4f}", process.stdout.decode())
        self.assertIn("KV f32", process.stdout.decode())
        self.assertRegex(process.stderr.decode(), r"\Achunk 1 of 3, perplexity \d+\.\d+, \d+ s left\n")
        reference = self.folder / "a.ref"
        saved = self.done("perplexity", MODEL, "-f", self.text(content), "--ctx", "32", "--save-reference", reference).decode()
        self.assertIn("written", saved)
        compared = self.done("perplexity", MODEL, "-f", self.text(content), "--ctx", "32", "--reference", reference).decode()
        self.assertIn("same top token 100.000 %", compared)


class Refused(PerplexityTest):
    def refused_with(self, *options, model=MODEL, content=text_of(100), **expected):
        return self.refused("perplexity", model, "-f", self.text(content), "--ctx", "32", "--json", *options, **expected)

    def test_texts(self):
        self.refused_with(content=text_of(31), says=["31 tokens", "32", "--ctx"])
        self.refused_with(content=b"", says=["0 tokens", "32"])
        self.refused_with(content=text_of(50).encode() + b"\xff" + b"abc" * 50, says=["UTF-8", "byte 50"])
        self.refused_with(content=b"abc\0" * 50, says=["NUL"])
        self.refused("perplexity", MODEL, "-f", self.folder / "none.txt", says=["none.txt"])

    def test_usage(self):
        text = self.text(text_of(50))
        for options, says in ((["--ctx", "7"], "7"), (["--chunks", "0"], "0"), (["--kv", "q9"], "q9")):
            self.refused("perplexity", MODEL, "-f", text, *options, says=[says], code=2, begins="cabinet perplexity: ")
        for arguments, says in (([MODEL], "-f"), (["-f", text], "MODEL"),
                                ([MODEL, "-f", text, "--reference", "a", "--save-reference", "b"], "exclude")):
            process = run("perplexity", *arguments)
            self.assertEqual(process.returncode, 2)
            self.assertIn(says, process.stderr.decode())

    def test_context(self):
        self.refused_with("--ctx", "1000", says=["1000", "512"])
        path = self.edited(lambda file: file.set("llama.context_length", 4))
        self.refused("perplexity", path, "-f", self.text("abc"), says=["4", "short"])

    def test_kv_memory(self):
        self.refused("perplexity", MODEL, "-f", self.text(text_of(600)), "--kv-memory", "48K", says=["--kv-memory"])

    def test_model_without_sense(self):
        def spoil(file):
            file.tensor("output_norm.weight").data = struct.pack("<64f", *[math.nan] * 64)
        reference = self.folder / "nan.ref"
        self.refused_with("--save-reference", reference, model=self.model("nan.gguf", spoil), says=["chunk 1", "finite"])
        self.assertEqual(list(self.folder.glob("nan.ref*")), [])

    def test_references_of_something_else(self):
        reference = self.folder / "a.ref"
        text = self.text(text_of(100), "a.txt")
        self.measure(MODEL, text, "--ctx", "32", "--save-reference", reference)
        against = ["--json", "--reference", reference]
        self.refused("perplexity", MODEL, "-f", text, "--ctx", "33", *against, says=["a.ref", "--ctx", "32", "33"])
        self.refused("perplexity", MODEL, "-f", text, "--ctx", "32", "--chunks", "2", *against, says=["a.ref", "3", "2"])
        other = self.text(text_of(100, seed=2), "b.txt")
        self.refused("perplexity", MODEL, "-f", other, "--ctx", "32", *against, says=["a.ref", "another text"])

    def test_damaged_references(self):
        reference = self.folder / "a.ref"
        content = text_of(100)
        self.measure(MODEL, self.text(content), "--ctx", "32", "--save-reference", reference)
        good, damaged = reference.read_bytes(), self.folder / "bad.ref"
        for length in (0, 7, 39, 40, 1000, len(good) - 1):
            damaged.write_bytes(good[:length])
            self.refused_with("--reference", damaged, content=content, says=["bad.ref"])
        for at in (0, 8, 12, 30, 39, 40, 50, 58, 1000, len(good) - 1):
            damaged.write_bytes(good[:at] + bytes([good[at] ^ 0x40]) + good[at + 1:])
            self.refused_with("--reference", damaged, content=content, says=["bad.ref"])
        self.refused_with("--reference", self.folder / "none.ref", content=content, says=["none.ref", "no such file"])
        self.refused_with("--reference", self.folder, content=content, says=[str(self.folder)[-20:]])

    def test_reference_that_cannot_be_written(self):
        self.refused_with("--save-reference", self.folder / "no" / "a.ref", says=["a.ref"])
        self.refused_with("--save-reference", self.folder, says=["cannot be"])
        self.assertEqual([path.name for path in self.folder.iterdir()], ["text.txt"])


if __name__ == "__main__":
    unittest.main()
