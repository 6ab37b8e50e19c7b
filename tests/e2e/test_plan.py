"""cabinet plan: the page, its JSON, what other verbs say of the same file, and one line for what cannot be."""

import json
import struct
import unittest

from cabinet import MODEL, TINY, CabinetTest, run

KEYS = {
    "model": str, "hardware": str, "load": dict, "kv_bytes_per_token": float, "kv_bytes": int, "kv_bytes_simplified": int,
    "kv_simplified_factor": float, "state_bytes": int, "weight_bytes": int, "device_weight_bytes": int, "device_kv_bytes": int,
    "activation_bytes": int, "reserved_bytes": int, "device_bytes": int, "capacity_bytes": int, "max_context_tokens": int,
    "max_users": int, "fits": bool, "phase": str, "crossover_tokens": int, "crossover_users": int, "step_seconds": float, "step": dict,
    "prefill_seconds": float, "prefill_tokens_per_second": float, "ttft_seconds": float, "itl_seconds": float, "tpot_seconds": float,
    "e2e_seconds": float, "utps": float, "stps": float, "output_tokens_per_second": float, "requests_per_second": float,
    "goodput": float, "usd_per_device_hour": float, "usd_per_hour": float, "usd_per_million_input_tokens": float,
    "usd_per_million_cached_input_tokens": float, "usd_per_million_output_tokens": float, "usd_per_conversation": float,
    "usd_per_user_hour": float, "binding_limit": str, "assumptions": list, "model_source": str, "hardware_source": str}
STEP_PARTS = {"weight_seconds", "kv_read_seconds", "kv_write_seconds", "compute_seconds", "sync_seconds", "overhead_seconds"}
LIMITS = {"capacity", "weight_bandwidth", "kv_bandwidth", "compute", "interconnect", "overhead", "model_context", "money"}
LLAMA = ["plan", "llama-3.1-70b", "--hardware", "h100-sxm", "--tp", "4"]
CONFIG = {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
          "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072, "tie_word_embeddings": False}


class Plan(CabinetTest):
    def test_keys_and_kinds(self):
        plan = self.json(*LLAMA, "--users", "8", "--context", "64k", "--kv", "f16", "--json")
        for key, kind in KEYS.items():
            self.assertIs(type(plan[key]), kind, key)
        self.assertEqual(plan.keys() - KEYS.keys(), set(), "documented nowhere")
        self.assertLessEqual(STEP_PARTS, plan["step"].keys())
        self.assertIn(plan["binding_limit"], LIMITS)
        self.assertEqual(plan["kv_bytes"], 8 * 2 * 80 * 8 * 128 * 65536 * 2)
        self.assertEqual(plan["kv_bytes_simplified"], 8 * 171798691840)
        self.assertAlmostEqual(plan["kv_simplified_factor"], 8)
        self.assertEqual(plan["load"]["prompt_tokens"], 65536 - 512)
        self.assertGreater(len(plan["assumptions"]), 0)

    def test_the_page_says_what_the_json_says(self):
        page = self.done(*LLAMA, "--users", "8", "--context", "64k").decode()
        for text in ("Llama 3.1 70B", "327,680 bytes", "171.8 GB", "Memory", "Decode step", "TTFT", "Money", "Assumed"):
            self.assertIn(text, page)
        self.assertRegex(page, r"\A[\x0a\x20-\x7e]*\Z")

    def test_assumed_numbers_are_marked(self):
        plan = self.json("plan", "qwen3-32b", "--json")
        text = "\n".join(plan["assumptions"])
        self.assertIn("--hardware", text)
        self.assertIn("--weights", text)
        self.assertIn("USD", text)
        given = self.json("plan", "qwen3-32b", "--hardware", "h100-sxm", "--weights", "bf16", "--usd-per-hour", "2", "--json")
        text = "\n".join(given["assumptions"])
        self.assertNotIn("--hardware", text)
        self.assertNotIn("--weights", text)
        self.assertNotIn("USD", text)
        self.assertEqual(given["usd_per_hour"], 2)

    def test_files_of_models_agree_with_inspect(self):
        for path in sorted(TINY.glob("*.gguf")):
            for kv in ("f32", "f16", "q8"):
                with self.subTest(model=path.name, kv=kv):
                    seen = run("inspect", path, "--json", "--kv", kv)
                    if seen.returncode != 0:
                        continue  # head sizes that q8 cannot store
                    inspect = json.loads(seen.stdout)
                    plan = self.json("plan", path, "--kv", kv, "--json", "--context", "1", "--output", "1")
                    self.assertEqual(plan["kv_bytes_per_token"], inspect["kv_bytes_per_token"])
                    self.assertEqual(plan["weight_bytes"], inspect["tensor_bytes"])
                    self.assertEqual(plan["load"]["weights"], "as stored")
                    self.assertEqual(plan["step"]["weight_bytes"], inspect["weight_bytes_per_step"])

    def test_a_file_that_does_not_run_here_is_planned(self):
        def rename(file):
            file.values = {key.replace("llama.", "stranger."): value for key, value in file.values.items()}
            file.values["general.architecture"] = (8, "stranger")
        path = self.edited(rename)
        self.refused("run", path, "-p", "hi", says=["stranger"])
        stranger, own = (self.json("plan", model, "--json") for model in (path, MODEL))
        for key in ("kv_bytes", "weight_bytes", "step_seconds"):
            self.assertEqual(stranger[key], own[key])

    def test_a_config_is_planned(self):
        path = self.file("config.json", json.dumps(CONFIG).encode())
        plan = self.json("plan", path, "--hardware", "h100-sxm", "--json")
        entry = self.json("plan", "llama-3.1-8b", "--hardware", "h100-sxm", "--json")
        for key in ("kv_bytes", "weight_bytes", "step_seconds", "ttft_seconds"):
            self.assertEqual(plan[key], entry[key])
        del CONFIG_WITHOUT["hidden_size"]
        path = self.file("config.json", json.dumps(CONFIG_WITHOUT).encode())
        self.refused("plan", path, says=["hidden_size is missing"])

    def test_solve(self):
        longest = self.json("plan", "llama-3.1-8b", "-H", "h100-sxm", "-u", "16", "--solve", "max-context", "--json")
        self.assertIn(longest["solved_limit"], LIMITS)
        self.assertTrue(longest["fits"])
        tokens = str(longest["load"]["context_tokens"])
        self.assertTrue(self.json("plan", "llama-3.1-8b", "-H", "h100-sxm", "-u", "16", "-c", tokens, "--json")["fits"])
        cheapest = self.json("plan", "deepseek-v3", "--users", "64", "--weights", "fp8", "--solve", "cheapest", "--json")
        prices = [plan["usd_per_hour"] for plan in [cheapest, *cheapest["others"]]]
        self.assertEqual(prices, sorted(prices))
        page = self.done("plan", "deepseek-v3", "--users", "64", "--weights", "fp8", "--solve", "cheapest").decode()
        self.assertIn(cheapest["hardware"], page)
        within = self.json("plan", "llama-3.1-70b", "-H", "h100-sxm", "--solve", "slo", "--itl", "0.1", "--json")
        self.assertLessEqual(within["itl_seconds"], 0.1)

    def test_lists_name_what_plan_takes(self):
        for what, arguments in (("models", lambda name: [name]), ("hardware", lambda name: ["smollm2-135m", "--hardware", name])):
            lines = self.done("plan", "--list", what).decode().splitlines()[1:]
            self.assertGreater(len(lines), 70)
            names = [line[:32].strip() if what == "models" else line.split()[0] for line in lines]
            for name in names[::9]:
                process = run("plan", *arguments(name))
                if process.returncode != 0:
                    self.assertRegex(process.stderr.decode(), "is not known")  # hardware of which too little is published

    def test_a_catalog_of_ones_own(self):
        entry = {"id": "my-box", "name": "My box", "kind": "gpu", "mem_bytes": 24e9, "mem_bw_Bps": 1e12,
                 "flops_dense": {"bf16": 1e14}, "sources": ["its label"]}
        self.file("hardware.json", json.dumps({"devices": [entry]}).encode())
        plan = self.json("plan", "smollm2-135m", "--catalog", self.folder, "--hardware", "my box", "--json")
        self.assertEqual(plan["hardware"], "my-box")
        self.assertIsNone(plan["usd_per_hour"])
        alone = self.file("box.json", json.dumps(entry).encode())
        self.assertEqual(self.json("plan", "smollm2-135m", "--hardware", alone, "--json")["step"], plan["step"])
        self.file("hardware.json", json.dumps({"devices": [{**entry, "mem_bytes": "24 GB"}]}).encode())
        self.refused("plan", "smollm2-135m", "--catalog", self.folder, says=["hardware.json:1", "my-box", "mem_bytes"])


class BadInput(CabinetTest):
    def test_unknown_names_offer_near_ones(self):
        self.refused("plan", "lama-3.1-70", says=["Llama 3.1 70B"])
        self.refused("plan", "smollm2-135m", "--hardware", "h10o-sxm", says=["h100-sxm"])
        self.refused("plan", "there/is/no.json", says=["no such file"])
        self.refused("plan", "smollm2-135m", "--hardware", "no.json", says=["no.json"])

    def test_what_makes_no_sense_is_one_line(self):
        for arguments, says in (
                (["--tp", "3"], "do not divide over --tp 3"),
                (["--pp", "7"], "layers"),
                (["--ep", "2"], "no experts"),
                (["--tp", "2", "--dp", "900000"], "devices"),
                (["--shared", "9000"], "shared tokens"),
                (["--kv", "q4", "--catalog", "/nowhere"], "/nowhere")):
            with self.subTest(arguments=arguments):
                self.refused("plan", "llama-3.1-70b", "--hardware", "h100-sxm", *arguments, says=[says])

    def test_usage(self):
        for arguments in ([], ["a", "b"], ["a", "--users", "0"], ["a", "--users", "-1"], ["a", "--context", "0"], ["a", "--context", "1.5"],
                          ["a", "--context", "1e99"], ["a", "--context", "nan"], ["a", "--kv", "q5"], ["a", "--weights", "x"],
                          ["a", "--hit-rate", "2"], ["a", "--ttft", "0"], ["a", "--solve", "x"], ["a", "--solve", "slo"], ["a", "--engine", "x"],
                          ["--list", "x"], ["a", "--context", "100", "--output", "200"], ["a", "--budget", "inf"]):
            with self.subTest(arguments=arguments):
                process = run("plan", *arguments)
                self.assertEqual(process.returncode, 2, process.stderr)
                self.assertNotEqual(process.stderr, b"")

    def test_what_fits_nowhere_says_what_would(self):
        page = self.done("plan", "llama-3.1-405b", "--hardware", "rtx4090").decode()
        self.assertIn("DOES NOT FIT", page)
        self.assertIn("would hold it", page)
        plan = self.json("plan", "llama-3.1-405b", "--hardware", "rtx4090", "--json")
        self.assertEqual((plan["fits"], plan["binding_limit"]), (False, "capacity"))
        self.refused("plan", "llama-3.1-405b", "--hardware", "rtx4090", "--solve", "max-users", says=["memory capacity", "GB are needed", "would hold it"])
        self.refused("plan", "llama-3.1-405b", "--users", "100000", "--solve", "cheapest", "--budget", "1", says=["money", "would do for"])
        within = self.json("plan", "llama-3.1-8b", "--users", "64", "--solve", "cheapest", "--json")
        budget = within["usd_per_hour"] - 0.01
        self.refused("plan", "llama-3.1-8b", "--users", "64", "--solve", "cheapest", "--budget", f"{budget:.2f}",
                     says=[f"{within['hardware']} would do for {within['usd_per_hour']:.2f} USD"])

    def test_hostile_files(self):
        for content in (b"", b"{", b"[" * 100000, b"null", b"\xff\xfe", b'{"model_type": "llama", "num_hidden_layers": 1e999}',
                        b'{"model_type": "\x1b[31m"}', b'{"model_type": "\\u001b[31m"}', b'{"model_type": "' + b"x" * 100000 + b'"}'):
            with self.subTest(content=content[:40]):
                self.refused("plan", self.file("config.json", content), says=["config.json"])
        self.refused("plan", self.file("x.gguf", b"GGUF" + struct.pack("<I", 3)), says=["x.gguf"])


CONFIG_WITHOUT = dict(CONFIG)

if __name__ == "__main__":
    unittest.main()
