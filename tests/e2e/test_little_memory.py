"""The system refuses memory: one line. Not under a sanitizer, whose shadow needs terabytes of address space."""

import os
import resource
import subprocess
import unittest

from cabinet import CABINET, MODEL, CabinetTest, run


class LittleMemory(CabinetTest):
    def test_every_limit(self):
        """From nothing to plenty: a loader that cannot start, one line, or an answer."""
        # Without a template: its renderer's thread has a large stack, so the first refusal would always be that one.
        model = self.edited(lambda file: file.remove_template())
        outcomes = set()
        for megabytes in range(8, 200, 8):
            def limit(bytes_=megabytes << 20):
                resource.setrlimit(resource.RLIMIT_AS, (bytes_, bytes_))

            process = run("run", model, "--raw", "-p", "hi", "-n", "2", "--temp", "0", "--threads", "1", preexec_fn=limit)
            error = process.stderr.decode()
            if process.returncode == 127:
                outcomes.add("not started")
            elif process.returncode == 0:
                outcomes.add("answered")
            else:
                self.assertEqual(process.returncode, 1, f"{megabytes} MiB: {error}")
                self.assertRegex(error, r"\Acabinet: [^\n]+\n\Z", f"{megabytes} MiB")
                outcomes.add("refused")
        self.assertLessEqual({"refused", "answered"}, outcomes)

    def test_claimed_context_takes_no_memory(self):
        """Only tokens that are there take memory: a file that claims a context of 2^27 runs like any other."""
        path = self.edited(lambda file: file.set("llama.context_length", 1 << 27))
        # With this variable, which Meson sets, the C library touches all that it allocates.
        environment = {name: value for name, value in os.environ.items() if name != "MALLOC_PERTURB_"}
        process = subprocess.Popen([CABINET, "run", path, "-p", "hi", "-n", "2", "--temp", "0", "--threads", "8"],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
        with process.stderr:
            error = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0, error)
        self.assertLess(usage.ru_maxrss, 256 << 10, "KiB")

    def test_template_without_a_thread(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (150 << 20, 150 << 20))

        self.refused("run", MODEL, "-p", "hi", "-n", "2", "--threads", "1", says=["chat template"], preexec_fn=limit)


if __name__ == "__main__":
    unittest.main()
