"""The chat on a terminal: what a person types, and Ctrl-C at the wrong moment."""

import json
import os
import pty
import re
import select
import signal
import time
import unittest

from cabinet import CABINET, MODEL, CabinetTest

SECONDS = 60
CTRL_C, CTRL_D, UP = b"\x03", b"\x04", b"\x1b[A"


class Terminal:
    def __init__(self, *arguments):
        self.output = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.execv(CABINET, [CABINET, *map(str, arguments)])

    def send(self, data):
        os.write(self.fd, data)

    def read_more(self, seconds):
        """False at the end of the output."""
        if not select.select([self.fd], [], [], seconds)[0]:
            raise TimeoutError(f"nothing more after {self.output[-500:]!r}")
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # how Linux says that the other side is closed
            data = b""
        self.output += data
        return data != b""

    def wait_for(self, pattern):
        """Reads until the pattern occurs in what has not been waited for yet."""
        end = time.monotonic() + SECONDS
        while (match := re.search(pattern, self.output)) is None:
            if not self.read_more(max(0, end - time.monotonic())):
                raise EOFError(f"no {pattern} in {self.output[-500:]!r}")
        found, self.output = self.output[:match.end()], self.output[match.end():]
        return found

    def close(self):
        """The exit code."""
        end = time.monotonic() + SECONDS
        while self.read_more(max(0, end - time.monotonic())):
            pass
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        self.pid = 0
        return status

    def kill(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.fd)


PROMPT = rb"> "
BILL = rb"KV bill: [^\n]*\n"


class OnATerminal(CabinetTest):
    def open(self, *options, model=MODEL):
        terminal = Terminal("run", model, "--temp", "0", *options)
        self.addCleanup(terminal.kill)
        terminal.wait_for(rb"/help")
        terminal.wait_for(PROMPT)
        return terminal

    def transcript(self, terminal):
        path = self.folder / "talk.json"
        terminal.send(f"/save {path}\r".encode())
        terminal.wait_for(rb"saved to")
        terminal.wait_for(PROMPT)  # what is typed before it would meet the terminal in another mode
        return [message["content"] for message in json.loads(path.read_text())["messages"]]

    def test_a_turn_and_exit(self):
        terminal = self.open("-n", "5")
        terminal.send(b"hello\r")
        terminal.wait_for(BILL)
        terminal.wait_for(PROMPT)
        terminal.send(b"/exit\r")
        self.assertEqual(terminal.close(), 0)

    def test_ctrl_d_leaves(self):
        terminal = self.open()
        terminal.send(CTRL_D)
        self.assertEqual(terminal.close(), 0)

    def test_ctrl_c_at_the_prompt_stays(self):
        terminal = self.open("-n", "5")
        terminal.send(b"half a lin" + CTRL_C)
        terminal.wait_for(rb"Ctrl-D or /exit leaves")
        terminal.wait_for(PROMPT)
        terminal.send(b"hello\r")
        terminal.wait_for(BILL)
        terminal.wait_for(PROMPT)
        self.assertEqual(self.transcript(terminal)[0], "hello")

    def test_ctrl_c_stops_the_answer_and_not_the_program(self):
        def never_ending(file):
            """A long context, and no token that the model would end with."""
            file.set("llama.context_length", 1 << 20)
            file.set("tokenizer.ggml.eos_token_id", 0)

        terminal = self.open("--kv-memory", "600M", model=self.edited(never_ending))
        terminal.send(b"hello\r")
        terminal.wait_for(rb"hello[^\n]*\r\n[^\n]{50}")
        terminal.send(CTRL_C)
        terminal.wait_for(BILL)
        terminal.wait_for(PROMPT)
        terminal.send(b"/bill\r")
        bill = terminal.wait_for(rb"room for [\d,]+ more")
        self.assertLess(int(re.search(rb"output (\d+)", bill)[1]), (1 << 20) - 1000)
        terminal.wait_for(PROMPT)
        self.assertEqual(len(self.transcript(terminal)), 2, "what was answered stays in the conversation")
        terminal.send(CTRL_D)
        self.assertEqual(terminal.close(), 0)

    def test_paste_of_several_lines_is_one_turn(self):
        terminal = self.open("-n", "5")
        terminal.send(b"\x1b[200~first line\nsecond line\n\nlast\x1b[201~")
        terminal.wait_for(rb"last")
        terminal.send(b"\r")
        terminal.wait_for(BILL)
        terminal.wait_for(PROMPT)
        self.assertEqual(self.transcript(terminal)[0], "first line\nsecond line\n\nlast")

    def test_history(self):
        terminal = self.open("-n", "5")
        terminal.send(b"hello again\r")
        terminal.wait_for(BILL)
        terminal.wait_for(PROMPT)
        terminal.send(UP + b"\r")
        terminal.wait_for(BILL)
        terminal.wait_for(PROMPT)
        self.assertEqual(self.transcript(terminal)[::2], ["hello again"] * 2)

    def test_editing(self):
        terminal = self.open("-n", "5")
        terminal.send(b"hellp\x7fo\x01Oh, \r")  # backspace, then Ctrl-A to the line's start
        terminal.wait_for(BILL)
        terminal.wait_for(PROMPT)
        self.assertEqual(self.transcript(terminal)[0], "Oh, hello")

    def test_a_failed_turn_stays(self):
        terminal = self.open("-n", "5", "--ctx", "64")
        terminal.send(b"word " * 90 + b"\r")
        terminal.wait_for(rb"cabinet: [^\n]*64")
        terminal.wait_for(PROMPT)
        terminal.send(b"hello\r")
        terminal.wait_for(BILL)


if __name__ == "__main__":
    unittest.main()
