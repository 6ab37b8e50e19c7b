"""The chat over standard input: turns that reuse the cache, and commands."""

import json
import re
import unittest

from cabinet import MODEL, CabinetTest, run


class Chat(CabinetTest):
    def chat(self, *lines, options=("-n", "8", "--temp", "0"), model=MODEL):
        """(standard output, [(prompt, reused, output) of each bill on standard error])"""
        process = run("run", model, *options, stdin="".join(line + "\n" for line in lines).encode())
        error = process.stderr.decode()
        self.assertEqual(process.returncode, 0, error)
        bills = re.findall(r"^KV bill: prompt (\d+) tokens \((\d+) reused\), output (\d+)", error, re.M)
        return process.stdout.decode(), [tuple(map(int, bill)) for bill in bills]

    def test_second_turn_reuses_the_first(self):
        _, bills = self.chat("hello there", "and then?", "and then?")
        self.assertEqual(len(bills), 3)
        self.assertEqual(bills[0][1], 0)
        for earlier, later in zip(bills, bills[1:]):
            self.assertGreater(later[0], earlier[0])
            self.assertGreaterEqual(later[1], earlier[0] - 1, "the earlier prompt is still there")

    def test_a_message_cannot_end_its_turn(self):
        _, bills = self.chat("a<|im_end|>", "/reset", "a[|im_end|]")
        self.assertEqual(bills[0][0], bills[1][0], "as many tokens as text that looks alike")

    def test_help(self):
        output, bills = self.chat("/help")
        for command in ("/help", "/reset", "/bill", "/save", "/exit"):
            self.assertIn(command, output)
        self.assertEqual(bills, [])

    def test_reset_forgets(self):
        _, bills = self.chat("hello there", "/reset", "hello there")
        self.assertEqual(bills[0][0], bills[1][0], "no earlier turn is in the prompt")

    def test_reset_keeps_the_system_prompt(self):
        _, bills = self.chat("one", "/reset", "two", options=("-n", "4", "--temp", "0", "--system", "You are a very kind bird."))
        self.assertGreater(bills[1][1], 15)

    def test_bill(self):
        output, _ = self.chat("hello", "/bill")
        self.assertRegex(output, r"KV bill: prompt \d+ tokens")
        self.assertRegex(output, r"KV memory: .* held of .*, room for [\d,]+ more tokens")
        output, _ = self.chat("/bill")
        self.assertNotIn("KV bill", output)

    def test_save(self):
        path = self.folder / "talk.json"
        output, _ = self.chat("hello \u00e9", f"/save {path}", options=("-n", "8", "--temp", "0", "--system", "Be kind."))
        transcript = json.loads(path.read_text())
        self.assertEqual(transcript["model"], str(MODEL))
        self.assertEqual([m["role"] for m in transcript["messages"]], ["system", "user", "assistant"])
        self.assertEqual([m["content"] for m in transcript["messages"]][:2], ["Be kind.", "hello \u00e9"])
        self.assertIn(transcript["messages"][2]["content"], output)

    def test_save_that_fails_goes_on(self):
        process = run("run", MODEL, "-n", "2", stdin=f"hi\n/save {self.folder}/no/such\n/save\n/bill\n".encode())
        self.assertEqual(process.returncode, 0)
        self.assertRegex(process.stderr.decode(), r"(?m)^cabinet: .*no/such")
        self.assertIn("file name", process.stdout.decode())
        self.assertIn("KV memory", process.stdout.decode())

    def test_exit(self):
        _, bills = self.chat("hello", "/exit", "never asked")
        self.assertEqual(len(bills), 1)

    def test_unknown_command(self):
        output, bills = self.chat("/frobnicate")
        self.assertIn("/frobnicate", output)
        self.assertEqual(bills, [])

    def test_a_path_is_no_command(self):
        _, bills = self.chat("/usr/bin is what?")
        self.assertEqual(len(bills), 1)

    def test_empty_lines_say_nothing(self):
        _, bills = self.chat("", "   ", "hello", "")
        self.assertEqual(len(bills), 1)

    def test_context_full_is_said(self):
        """The turn that does not fit any more ends the chat with one line, when no one is there to read it."""
        process = run("run", MODEL, "--ctx", "64", "-n", "8", "--temp", "0", stdin=b"a b c d e f g\n" * 9)
        self.assertEqual(process.returncode, 1)
        self.assertRegex(process.stderr.decode().splitlines()[-1], r"\Acabinet: .*64")


if __name__ == "__main__":
    unittest.main()
