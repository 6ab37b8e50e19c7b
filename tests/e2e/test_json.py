"""The JSON that scripts read (docs/json.md): keys, kinds and what must hold among the numbers."""

import pathlib
import unittest

from cabinet import MODEL, TINY, CabinetTest, run

BLOCK_TOKENS = 32


class Keys(CabinetTest):
    def check(self, document, kinds):
        for key, kind in kinds.items():
            self.assertIn(key, document)
            self.assertIs(type(document[key]), kind, key)
        self.assertEqual(document.keys() - kinds.keys(), set(), "documented nowhere")


class Run(Keys):
    KINDS = {"text": str, "token_ids": list, "prompt_tokens": int, "cached_tokens": int, "output_tokens": int, "ttft_ms": float,
             "prefill_tokens_per_second": float, "decode_tokens_per_second": float, "kv_bytes": int, "kv_groups": list, "kv_bytes_per_token": int,
             "kv_read_share": float, "kv": dict, "finish_reason": str, "kv_codec": str, "context_tokens": int, "threads": int, "seed": int}

    def answer(self, *options, prompt="hi"):
        return self.json("run", MODEL, "-p", prompt, "--temp", "0", "--json", *options)

    def test_keys_and_numbers(self):
        answer = self.answer("-n", "20", "--threads", "1", "--seed", "5")
        self.check(answer, self.KINDS)
        self.assertEqual((answer["threads"], answer["seed"], answer["kv_codec"], answer["context_tokens"]), (1, 5, "f16", 512))
        self.assertEqual(len(answer["token_ids"]), answer["output_tokens"])
        self.assertEqual((answer["finish_reason"], answer["output_tokens"]), ("length", 20))
        self.assertEqual(answer["cached_tokens"], 0)
        self.assertEqual(answer["kv_bytes_per_token"], 512)
        n_computed = answer["prompt_tokens"] + answer["output_tokens"] - 1
        n_blocks = -(-n_computed // BLOCK_TOKENS)
        self.assertEqual(answer["kv_bytes"], n_blocks * BLOCK_TOKENS * 512)
        for key in ("ttft_ms", "prefill_tokens_per_second", "decode_tokens_per_second"):
            self.assertGreater(answer[key], 0)
        weight_bytes = 378112  # all tensors: the embedding is tied
        read = n_computed * 512
        self.assertAlmostEqual(answer["kv_read_share"], read / (read + weight_bytes), delta=0.01)

    def test_one_token_has_no_decode_speed(self):
        self.assertEqual(self.answer("-n", "1")["decode_tokens_per_second"], 0)

    def test_codecs(self):
        for codec, bytes_per_token in (("f32", 1024), ("f16", 512), ("bf16", 512)):
            answer = self.answer("-n", "4", "--kv", codec)
            self.assertEqual((answer["kv_codec"], answer["kv_bytes_per_token"]), (codec, bytes_per_token))

    def test_context_ends_the_answer(self):
        answer = self.answer("--ctx", "40")
        self.assertEqual(answer["finish_reason"], "context")
        self.assertEqual(answer["prompt_tokens"] + answer["output_tokens"], 40)

    def test_text_is_what_is_printed(self):
        printed = self.done("run", MODEL, "-p", "hi", "-n", "30", "--temp", "0").decode()
        self.assertEqual(printed.removesuffix("\n"), self.answer("-n", "30")["text"])


class Profile(Keys):
    def test_shares(self):
        report = self.json("bench", MODEL, "-p", "40", "-n", "4", "-b", "1,3", "-r", "2", "--profile", "--json")
        self.assertEqual(len(report["rows"]), 3)
        for row in report["rows"]:
            profile = row["profile"]
            self.check(profile, {"step_ms": float, "shares": dict, "waiting_share": float})
            self.assertEqual(set(profile["shares"]), {"schedule", "embed", "norms", "qkv", "rope_store", "attention", "output",
                                                      "ffn", "logits", "commit", "sampling"})
            self.assertAlmostEqual(sum(profile["shares"].values()), 1, places=6)
            self.assertTrue(all(share > 0 for share in profile["shares"].values()), profile)
            self.assertTrue(0 <= profile["waiting_share"] < 1, profile)
            n_rows = 40 if row["test"] == "prefill" else row["batch"]
            self.assertLess(profile["step_ms"], 1.05e3 * n_rows / row["tokens_per_second_min"])
        self.assertNotIn("profile", self.json("bench", MODEL, "-p", "8", "-n", "0", "-r", "1", "--json")["rows"][0])

    def test_text(self):
        text = self.done("bench", MODEL, "-p", "0", "-n", "2", "-r", "1", "--profile").decode()
        self.assertRegex(text, r"(?m)^decode +0 +1( +[0-9.]+){13}$")


class Inspect(Keys):
    KINDS = {"architecture": str, "layers": int, "embedding_length": int, "feed_forward_length": int, "heads": int,
             "kv_heads": int, "head_dim": int, "vocabulary": int, "context_tokens": int, "files": int, "parameters": int, "tensor_bytes": int,
             "weight_bytes_per_step": int, "kv_bytes_per_token": int, "crossover_tokens": int, "tensor_types": dict,
             "tokenizer": str, "pre_tokenizer": str, "has_chat_template": bool, "chat_template": str,
             "kv": dict}

    def test_keys_and_numbers(self):
        report = self.json("inspect", MODEL, "--json")
        self.check(report, self.KINDS)
        self.check(report["kv"], {"codec": str, "groups": list, "at": list})
        self.assertEqual((report["architecture"], report["layers"], report["vocabulary"]), ("llama", 2, 288))
        self.assertEqual(report["tensor_types"], {"F32": {"tensors": 20, "bytes": 378112}})
        self.assertEqual(report["kv_bytes_per_token"], 512)
        self.assertEqual(report["crossover_tokens"], 378112 // 512)
        self.assertEqual(report["kv"]["groups"], [{"kind": "full", "window": 0, "layers": 2, "bytes_per_token": 512, "block_bytes": 16384}])

    def test_every_architecture(self):
        for path in sorted(TINY.glob("*.gguf")):
            report = self.json("inspect", path, "--json")
            self.assertTrue(path.name.replace("olmo3", "olmo2").startswith(report["architecture"]))
            heads = 2 * report["layers"] * report["kv_heads"] * report["head_dim"] * 2
            self.assertEqual(report["kv_bytes_per_token"], heads)
            groups = report["kv"]["groups"]
            self.assertEqual(sum(group["layers"] for group in groups), report["layers"])

            def read(n, groups=groups):
                return sum(min(n, group["window"] or n) * group["bytes_per_token"] for group in groups)

            if all(group["window"] for group in groups):
                self.assertEqual(report["crossover_tokens"], 0)
                continue
            self.assertLessEqual(read(report["crossover_tokens"]), report["weight_bytes_per_step"])
            self.assertGreater(read(report["crossover_tokens"] + 1), report["weight_bytes_per_step"])

    def test_template(self):
        """The file's own; one built in, which answers as the file's did; none."""
        def said(path):
            text = self.done("inspect", path).decode()
            line = next(line for line in text.splitlines() if line.startswith("chat template"))
            report = self.json("inspect", path, "--json")
            self.assertEqual(report["has_chat_template"], report["chat_template"] is not None)
            return report["chat_template"], line.removeprefix("chat template").strip()

        def llama3(file):
            file.remove_template()
            file.rename_tokens({b"<|renamed|>": b"<|start_header_id|>", b"<|im_end|>": b"<|eot_id|>",
                                b"<|pad|>": b"<|end_header_id|>"})

        self.assertEqual(said(MODEL), ("file", "from the file"))
        chatml = self.edited(lambda file: file.values.pop("tokenizer.chat_template"))
        self.assertEqual(said(chatml), ("chatml", "built in: chatml (none in the file)"))
        question = ("-p", "hi", "-n", "5", "--temp", "0", "--json")
        self.assertEqual(self.json("run", chatml, *question)["token_ids"], self.json("run", MODEL, *question)["token_ids"])
        self.assertEqual(said(self.edited(llama3))[0], "llama3")
        name, line = said(self.edited(lambda file: file.remove_template()))
        self.assertIsNone(name)
        self.assertIn("--raw", line)

    def test_untied_embedding_is_not_read(self):
        report = self.json("inspect", TINY / "llama_untied.gguf", "--json")
        self.assertLess(report["weight_bytes_per_step"], report["tensor_bytes"])

    def test_codec(self):
        self.assertEqual(self.json("inspect", MODEL, "--json", "--kv", "f32")["kv_bytes_per_token"], 1024)

    def test_lengths(self):
        path = self.edited(lambda file: file.set("llama.context_length", 10000))
        points = self.json("inspect", path, "--json")["kv"]["at"]
        self.assertEqual(points, [{"tokens": n, "kv_bytes": n * 512} for n in (1024, 4096, 8192)])

    def test_text(self):
        text = self.done("inspect", MODEL).decode()
        for part in ("llama: 2 layers", "F32", "20 tensors", "gpt-2", "288", "512 bytes/token", "738 tokens"):
            self.assertIn(part, text)


class Bench(Keys):
    KINDS = {"machine": dict, "kv_codec": str, "rounds": int, "rows": list}
    MACHINE = {"read_bytes_per_second": float, "int8_ops_per_second": float, "bf16_flops": float, "f32_flops": float,
               "read_buffer_bytes": int, "threads": int, "kernels": str}
    ROW = {"test": str, "depth": int, "batch": int, "tokens_per_second": float, "tokens_per_second_min": float,
           "tokens_per_second_max": float, "limit_tokens_per_second": float, "fraction": float}

    def test_keys(self):
        report = self.json("bench", MODEL, "-p", "16", "-n", "4", "-d", "0,40", "-b", "1,2", "-r", "2", "--json", "--kv", "f32")
        self.check(report, self.KINDS)
        self.check(report["machine"], self.MACHINE)
        self.assertEqual((report["kv_codec"], report["rounds"]), ("f32", 2))
        rows = [(row["test"], row["depth"], row["batch"]) for row in report["rows"]]
        decodes = [("decode", depth, batch) for depth in (0, 40) for batch in (1, 2)]
        self.assertEqual(sorted(rows), sorted([("prefill", 0, 1), ("prefill", 40, 1), *decodes]))
        for row in report["rows"]:
            self.check(row, self.ROW)
            self.assertGreater(row["fraction"], 0)
            self.assertLessEqual(row["tokens_per_second_min"], row["tokens_per_second"])
            self.assertLessEqual(row["tokens_per_second"], row["tokens_per_second_max"])


class BenchShared(Keys):
    KINDS = {"kernels": str, "threads": int, "kv_codec": str, "rounds": int, "users": int, "shared_tokens": int, "steps": int,
             "rows": list, "speedup": float, "peak_kv_bytes": int, "peak_slab_bytes": int, "peak_kv_ratio": float,
             "second_user_ttft_ms": float, "decode_step_ms": float, "lookup_ns_per_block": float, "fragmentation": float}
    ROW = {"blocks": str, "tokens_per_second": float, "tokens_per_second_min": float, "tokens_per_second_max": float,
           "weight_bytes_per_step": int, "kv_read_bytes_per_step": int, "ops_per_step": float, "reading_ms_per_step": float,
           "arithmetic_ms_per_step": float}

    def test_keys(self):
        report = self.json("bench", MODEL, "--shared-prompt", "384", "--users", "3", "-n", "32", "-r", "2", "--json")
        self.check(report, self.KINDS)
        self.assertEqual((report["users"], report["shared_tokens"], report["steps"]), (3, 384, 32))
        shared, copies = report["rows"]
        for row in report["rows"]:
            self.check(row, self.ROW)
        self.assertEqual((shared["blocks"], copies["blocks"]), ("shared", "copies"))
        # The prompt is three tiles, which two of the users do not read; what is computed stays.
        self.assertEqual(copies["kv_read_bytes_per_step"] - shared["kv_read_bytes_per_step"], 2 * 384 * 512)
        self.assertEqual(copies["ops_per_step"], shared["ops_per_step"])
        # 12 blocks of the prompt and one of each user.
        self.assertEqual((report["peak_kv_bytes"], report["peak_kv_ratio"]), (15 * 32 * 512, 1))
        self.assertGreaterEqual(report["peak_slab_bytes"], report["peak_kv_bytes"])
        self.assertTrue(0 < report["fragmentation"] < 1)

    def test_sharers_only(self):
        report = self.json("bench", MODEL, "--shared-prompt", "64", "--users", "3", "-n", "8", "-r", "1", "--sharers-only", "--json")
        self.check(report, self.KINDS | {"speedup": type(None)})
        self.assertEqual([row["blocks"] for row in report["rows"]], ["shared"])
        self.check(report["rows"][0], self.ROW)
        # A cache that has no room for copies has room for those who share.
        self.json("bench", MODEL, "--shared-prompt", "256", "--users", "200", "-n", "1", "-r", "1", "--kv-memory", "16M",
                  "--sharers-only", "--json")

    def test_what_does_not_go_together(self):
        for options in (["--users", "4"], ["--sharers-only"], ["--shared-prompt", "64", "-d", "64"], ["--shared-prompt", "64", "-b", "2"],
                        ["--shared-prompt", "64", "-p", "9"], ["--shared-prompt", "64", "-n", "0"], ["--shared-prompt", "31"],
                        ["--shared-prompt", "64", "--users", "1"]):
            self.assertEqual(run("bench", MODEL, *options).returncode, 2, options)
        few = run("bench", MODEL, "--shared-prompt", "256", "--users", "200", "--kv-memory", "16M")
        self.assertEqual(few.returncode, 1)
        self.assertIn(b"raise --kv-memory", few.stderr)


class Perplexity(Keys):
    KINDS = {"ppl": float, "ppl_stderr": float, "tokens": int, "scored_tokens": int, "chunks": int, "context_tokens": int,
             "kv_codec": str, "threads": int, "by_depth": list}
    COMPARED = {"reference_ppl": float, "reference_ppl_stderr": float, "kl_mean": float, "kl_median": float, "kl_p99": float,
                "kl_max": float, "top1_agreement": float}
    DEPTH = {"first": int, "last": int, "ppl": float}

    def test_keys(self):
        text, reference = self.file("text.txt", b"X9 QZ " * 40), self.folder / "a.ref"
        arguments = ["perplexity", MODEL, "-f", text, "--ctx", "32", "--kv", "f32", "--threads", "1", "--json"]
        alone = self.json(*arguments, "--save-reference", reference)
        self.check(alone, self.KINDS)
        self.assertEqual((alone["kv_codec"], alone["threads"]), ("f32", 1))
        compared = self.json(*arguments, "--reference", reference)
        self.check(compared, self.KINDS | self.COMPARED)
        for depth in alone["by_depth"]:
            self.check(depth, self.DEPTH)
        for depth in compared["by_depth"]:
            self.check(depth, self.DEPTH | {"kl_mean": float})


class Documented(unittest.TestCase):
    def test_every_key_is_in_the_document(self):
        document = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "json.md").read_text()
        rows = [key for key in Bench.ROW if key in document]  # named in one list
        self.assertEqual(rows, [*Bench.ROW])
        for key in [*Run.KINDS, *Inspect.KINDS, *Bench.KINDS, *Bench.MACHINE, *BenchShared.KINDS, *BenchShared.ROW,
                    *Perplexity.KINDS, *Perplexity.COMPARED]:
            self.assertIn(f"`{key}`", document)


if __name__ == "__main__":
    unittest.main()
