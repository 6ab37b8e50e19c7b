"""The system refuses memory: one line. Not under a sanitizer, whose shadow needs terabytes of address space."""

import resource
import unittest

from cabinet import MODEL, CabinetTest, run


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

    def test_template_without_a_thread(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (150 << 20, 150 << 20))

        self.refused("run", MODEL, "-p", "hi", "-n", "2", "--threads", "1", says=["chat template"], preexec_fn=limit)


if __name__ == "__main__":
    unittest.main()
