"""cabinet plan --what-if, --economics and --plot: what scripts read, and files that others can open."""

import json
import os
import struct
import unittest
import xml.etree.ElementTree

from cabinet import CabinetTest, run

LOAD = ("plan", "llama-3.1-8b", "--hardware", "h100-sxm", "--users", "8", "--context", "64k", "--engine", "ideal")


class PlanMore(CabinetTest):
    def test_what_if_and_economics_in_json(self):
        plan = self.json(*LOAD, "--json", "--what-if", "--economics", "--price", "2", "--free-tier", "5", "--usd-per-hour", "3")
        rows = {row["remedy"]: row for row in plan["what_if"]["remedies"]}
        # 8 x 65,536 tokens x 131,072 bytes in f16; in q8 132 bytes for every 256
        saved = 8 * 65536 * 131072 * (1 - 132 / 256)
        base = plan["what_if"]["base"]["memory_bytes"]
        self.assertAlmostEqual(base - rows["kv_q8"]["memory_bytes"], saved, delta=1e-6 * saved)
        self.assertEqual(rows["gqa"]["applies"], False)
        self.assertIn("share keys and values", rows["gqa"]["reason"])
        self.assertLessEqual(plan["what_if"]["best_pair"]["usd_factor"], min(row["usd_factor"] for row in rows.values() if row["applies"]))
        economics = plan["economics"]
        self.assertEqual(economics["usd_per_hour"], 3)
        for point in economics["points"]:
            self.assertAlmostEqual(point["usd_per_user_hour"] * point["users"], 3)
        self.assertGreater(economics["economic_ceiling_tokens"], economics["points"][0]["context_tokens"])

    def test_tables_name_what_cabinet_offers(self):
        text = self.done(*LOAD, "--what-if", "--economics").decode()
        self.assertRegex(text, r"KV in 8 bits \(q8\).*--kv q8: KL")
        self.assertIn("8 query heads a KV head (GQA)                  does not apply", text)
        self.assertIn("100 users x 200000 tokens", text)
        self.assertRegex(text, r"Anthropic\s+\S+.*2026")

    def test_pictures(self):
        svg, png = self.folder / "plan.svg", self.folder / "plan.png"
        self.done(*LOAD, "--plot", svg)
        root = xml.etree.ElementTree.parse(svg).getroot()
        text = "".join(root.itertext())
        for word in ("Llama 3.1 8B", "Memory", "Time of a decode step", f"cache = weights at {self.json(*LOAD, '--json')['crossover_tokens']} tokens", "context, tokens", "USD per million tokens",
                     "KV in 8 bits (q8)"):
            self.assertIn(word, text)
        for name, says in (("memory", "what the machine has"), ("step", "waiting, fixed costs"), ("users", "Users who fit"),
                           ("cost", "USD per million tokens"), ("remedies", "times as many users")):
            self.done(*LOAD, "--plot", svg, "--picture", name)
            one = "".join(xml.etree.ElementTree.parse(svg).getroot().itertext())
            self.assertIn("Llama 3.1 8B on H100", one)
            self.assertIn(says, one)
            self.assertLess(len(one), len(text))
        self.done(*LOAD, "--plot", png)
        start = png.read_bytes()[:24]
        self.assertEqual((start[:8], struct.unpack(">II", start[16:])), (b"\x89PNG\r\n\x1a\n", (1000, 1300)))

    def test_the_page_carries_its_figures_and_refers_to_nothing(self):
        path = self.folder / "plan.html"
        self.done(*LOAD, "--plot", path)
        page = path.read_text(encoding="utf-8")
        self.assertNotRegex(page, r"""(src|href)=["']""")
        data = page.split('id="plan-data">')[1].split("</script>")[0]
        self.assertEqual(json.loads(data)["asked"]["kv_bytes"], 8 * 65536 * 131072)

    def failure(self, code, *arguments, **options):
        process = run(*LOAD, *arguments, **options)
        self.assertEqual(process.returncode, code)
        return process.stderr.decode()

    def test_what_cannot_be_drawn(self):
        self.assertIn("ends in none of .svg, .png and .html", self.failure(2, "--plot", "plan.gif"))
        self.assertIn("--picture goes with --plot", self.failure(2, "--picture", "users"))
        self.assertIn("--picture goes with --plot", self.failure(2, "--picture", "users", "--plot", "plan.html"))
        self.assertIn("is not memory, step, users", self.failure(2, "--picture", "beauty", "--plot", "plan.svg"))
        self.assertIn("No such file", self.failure(1, "--plot", self.folder / "nowhere" / "plan.svg"))
        path = self.folder / "plan.svg"
        self.assertIn("apt install gnuplot-nox", self.failure(1, "--plot", path, environment={"PATH": os.fspath(self.folder)}))
        self.assertFalse(path.exists())
        (self.folder / "gnuplot").write_text("#!/bin/sh\nexit 3\n")
        (self.folder / "gnuplot").chmod(0o755)
        self.assertIn("gnuplot failed", self.failure(1, "--plot", path, environment={"PATH": f"{self.folder}:/bin"}))
        self.assertFalse(path.exists())
        self.assertIn("--solve does not go with", self.failure(2, "--solve", "max-users", "--what-if"))


if __name__ == "__main__":
    unittest.main()
