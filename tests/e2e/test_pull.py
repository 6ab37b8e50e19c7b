"""Pull, list and rm: against a hub on this machine that breaks every promise a hub can make."""

import hashlib
import json
import os
import pathlib
import resource
import signal
import socket
import ssl
import subprocess
import threading
import unittest
import unittest.mock

import gguf_edit
from cabinet import CABINET, MODEL, SECONDS, CabinetTest, run
from hub import File, Hub, send
from test_terminal import Terminal

GGUF = MODEL.read_bytes()
REPO = "owner/repo"
HALF = len(GGUF) // 2


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class PullTest(CabinetTest):
    def setUp(self):
        super().setUp()
        self.hub = self.open_hub()
        self.environment = {"XDG_CACHE_HOME": str(self.folder), "CABINET_ENDPOINT": self.hub.url, "HF_TOKEN": "",
                            "no_proxy": "*", "CURL_CA_BUNDLE": "", "SSL_CERT_FILE": ""}
        self.models = self.folder / "cabinet" / "models"

    def open_hub(self, tls=None):
        hub = Hub(tls)
        self.addCleanup(hub.close)
        return hub

    def serve(self, **contents):
        """Puts files into the repository: name="…" is for name.gguf."""
        files = self.hub.files.setdefault(REPO, {})
        for name, content in contents.items():
            files[name + ".gguf"] = content if isinstance(content, File) else File(content)
        return files

    def options(self, retries=0):
        return ["--retry-delay", "0", "--retries", str(retries)]

    def pull(self, name=REPO, *options, retries=0, **settings):
        """The JSON of a pull that succeeds."""
        environment = {**self.environment, **settings.pop("environment", {})}
        return self.json("pull", name, "--json", *self.options(retries), *options, environment=environment, **settings)

    def pull_fails(self, name=REPO, *options, says=(), environment=None, **settings):
        return self.refused("pull", name, *self.options(), *options, says=says, **settings,
                            environment={**self.environment, **(environment or {})})

    def verb(self, *arguments):
        return self.done(*arguments, environment=self.environment).decode()

    def stored(self):
        """What lies in the cache folder: path: bytes."""
        return {str(p.relative_to(self.models)): p.read_bytes() for p in self.models.rglob("*") if p.is_file()}

    def part(self):
        return self.stored().get(f"{REPO}/model.gguf.part")

    def break_off(self, at=HALF, etag=True, times=1):
        """The next downloads end after `at` bytes of the file, as a broken connection does."""
        left = [times]

        def answers(handler):
            if handler.path.startswith("/api/") or left[0] == 0:
                return False
            left[0] -= 1
            file = self.hub.files[REPO]["model.gguf"]
            first = int((handler.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
            headers = {"ETag": file.etag} if etag else {}
            if first > 0:
                headers["Content-Range"] = f"bytes {first}-{len(file.content) - 1}/{len(file.content)}"
            send(handler, 206 if first else 200, file.content[first:first + at], headers, len(file.content) - first)
            return True

        self.hub.answers = answers


class Choice(PullTest):
    def chosen(self, name=REPO):
        before = set(self.stored())
        self.pull(name)
        return {pathlib.Path(path).name for path in set(self.stored()) - before}

    def test_preferred(self):
        files = self.serve(**{"m-Q8_0": GGUF, "m-Q4_0": GGUF, "m-q4_k_m": GGUF, "m-IQ4_K_M": GGUF, "mmproj-Q4_K_M": GGUF})
        self.assertEqual(self.chosen(), {"m-q4_k_m.gguf"})
        del files["m-q4_k_m.gguf"]
        self.assertEqual(self.chosen(), {"m-Q4_0.gguf"})
        del files["m-Q4_0.gguf"]
        self.assertEqual(self.chosen(), {"m-Q8_0.gguf"})

    def test_the_only_one(self):
        self.serve(**{"m-F16": GGUF, "imatrix": GGUF})
        self.assertEqual(self.chosen(), {"m-F16.gguf"})

    def test_file_and_tag(self):
        self.serve(**{"m-Q8_0": GGUF, "m-Q4_K_M": GGUF, "sub/m.Q6_K": GGUF})
        self.assertEqual(self.chosen(REPO + ":q8_0"), {"m-Q8_0.gguf"})
        self.assertEqual(self.chosen(REPO + ":m-Q4_K_M.gguf"), {"m-Q4_K_M.gguf"})
        self.assertEqual(self.chosen(REPO + ":Q6_K"), {"m.Q6_K.gguf"})
        self.assertEqual(self.stored()[f"{REPO}/sub/m.Q6_K.gguf"], GGUF)

    def test_ambiguous(self):
        self.serve(**{"m-F16": GGUF, "m-F32": GGUF})
        self.pull_fails(says=["m-F16.gguf", "m-F32.gguf", ":FILE"])
        self.serve(**{"a/m-Q8_0": GGUF, "b/m-Q8_0": GGUF})
        self.pull_fails(REPO + ":Q8_0", says=["several", "a/m-Q8_0.gguf", "b/m-Q8_0.gguf"])
        self.pull_fails(REPO + ":Q2_K", says=["no 'Q2_K'", "m-F16.gguf"])

    def test_more_choices_than_a_line_holds(self):
        self.serve(**{f"{'m' * 60}-F{n}": GGUF for n in range(99)})
        self.pull_fails(says=["more"])

    def test_no_model(self):
        self.hub.files[REPO] = {"README.md": File(b"hello")}
        self.pull_fails(says=[REPO, "no GGUF"])

    def test_split(self):
        parts = {f"m-Q4_K_M-0000{n}-of-00003": GGUF + bytes([n]) for n in (1, 2, 3)}
        files = self.serve(**parts)
        result = self.pull()
        self.assertEqual([pathlib.Path(file["path"]).name for file in result["files"]], sorted(files))
        self.assertEqual(len(self.stored()), 3)
        row, = self.list()["models"]
        self.assertEqual((row["files"], row["is_complete"], row["bytes"]), (3, True, 3 * len(GGUF) + 3))
        del files["m-Q4_K_M-00002-of-00003.gguf"]
        self.pull_fails(says=["missing", "00002-of-00003"])

    def test_split_model_runs(self):
        parts = gguf_edit.split(gguf_edit.read(MODEL), 2)
        self.serve(**{gguf_edit.part_name("m-Q4_K_M", i, 2).removesuffix(".gguf"): part.bytes() for i, part in enumerate(parts)})
        self.pull()
        arguments = ["-p", "hi", "-n", "10", "--temp", "0"]
        self.assertEqual(self.verb("run", REPO, *arguments), self.done("run", MODEL, *arguments).decode())

    def list(self):
        return json.loads(self.verb("list", "--json"))

    def test_revision(self):
        self.serve(model=GGUF)
        self.pull(REPO + "@v1.0")
        self.assertIn("/api/models/owner/repo/revision/v1.0?blobs=true", self.hub.paths())
        self.assertEqual(set(self.stored()), {REPO + "@v1.0/model.gguf"})

    def test_characters_in_names(self):
        self.serve(**{"my model (1)+%41": GGUF})
        self.pull()
        self.assertIn("/owner/repo/resolve/main/my%20model%20%281%29%2B%2541.gguf", self.hub.paths())

    def test_what_a_browser_shows(self):
        self.serve(model=GGUF)
        for path in ("", "/blob/main/model.gguf", "/resolve/main/model.gguf?download=true"):
            self.pull(f"{self.hub.url}/{REPO}{path}")
            self.assertEqual(set(self.stored()), {REPO + "/model.gguf"})

    def test_names_that_are_none(self):
        for name in ("repo", "/owner/repo", "owner/", "../repo", "owner/..", "owner/repo:../x", "owner/repo:", "owner/repo@",
                     "owner/repo@a/b", "owner/repo:/etc/passwd", "o w/repo", "owner/repo/x", "owner/repo:.x", "owner/repo:a//b"):
            self.pull_fails(name, says=["OWNER/REPO"])
        for url in ("ftp://h/m.gguf", "http://u@h/m.gguf", "http:///m.gguf", "http://h/m.gguf#x", "http://h\\@g/m.gguf"):
            self.pull_fails(url, says=["URL"])
        for url in ("http://h/m.bin", "http://h/", "http://h/a/../m.gguf", "http://h//m.gguf"):
            self.pull_fails(url, says=["GGUF file"])
        self.assertEqual(self.hub.requests, [])


class Pull(PullTest):
    def test_a_model_runs_under_the_name_it_was_pulled_by(self):
        self.serve(**{"model-Q8_0": GGUF})
        result = self.pull()
        self.assertEqual(result["name"], REPO + ":model-Q8_0.gguf")
        file, = result["files"]
        self.assertEqual(file, {"path": str(self.models / REPO / "model-Q8_0.gguf"), "bytes": len(GGUF),
                                "downloaded_bytes": len(GGUF), "resumed_bytes": 0, "was_there": False,
                                "sha256": sha256(GGUF), "is_sha256_checked": True})
        self.assertEqual(self.stored(), {REPO + "/model-Q8_0.gguf": GGUF})
        for name in (REPO, REPO + ":q8_0", result["name"], f"{self.hub.url}/{REPO}", REPO + "/model-Q8_0.gguf"):
            report = self.json("inspect", name, "--json", environment=self.environment)
            self.assertEqual(report["vocabulary"], 288)
        answer = self.json("run", REPO, "-p", "hi", "-n", "2", "--json", environment=self.environment)
        self.assertEqual(answer["output_tokens"], 2)
        (self.folder / REPO).mkdir(parents=True)  # a folder of that name is no model
        self.json("inspect", REPO, "--json", environment=self.environment, cwd=self.folder)
        self.refused("inspect", REPO + ":Q4_0", says=["no 'Q4_0'", "model-Q8_0.gguf"], environment=self.environment)

    def test_not_pulled_yet(self):
        for name in (REPO, REPO + ":Q4_0", "http://127.0.0.1/m.gguf"):
            self.refused("run", name, "-p", "hi", says=[f"cabinet pull {name}"], environment=self.environment)

    def test_every_key_is_in_the_document(self):
        self.serve(model=GGUF)
        document = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "json.md").read_text()
        result, report = self.pull(), json.loads(self.verb("list", "--json"))
        for key in [*result, *result["files"][0], *report, *report["models"][0]]:
            self.assertIn(f"`{key}`", document)

    def test_again(self):
        self.serve(model=GGUF)
        self.pull()
        n_requests = len(self.hub.requests)
        file, = self.pull()["files"]
        self.assertEqual((file["was_there"], file["downloaded_bytes"], file["sha256"]), (True, 0, None))
        self.assertEqual(len(self.hub.requests), n_requests + 1, "the listing only")

    def test_text(self):
        self.serve(model=GGUF)
        process = run("pull", REPO, environment=self.environment)
        self.assertEqual(process.stdout.decode(), f"{self.models / REPO / 'model.gguf'}\n")
        self.assertEqual(process.stderr.decode().splitlines(),
                         ["model.gguf: 376 KiB, SHA-256 as published", "Next: cabinet run owner/repo:model.gguf"])

    def test_url(self):
        self.hub.files[""] = {"a/b/model.gguf": File(GGUF)}
        url = self.hub.url + "/a/b/model.gguf"
        result = self.pull(url + "?key=1", environment={"CABINET_ENDPOINT": "https://127.0.0.1:1"})
        self.assertEqual((result["name"], result["files"][0]["is_sha256_checked"]), (url, False))
        self.assertEqual(self.hub.paths(), ["/a/b/model.gguf?key=1"])
        self.assertEqual(self.json("inspect", url, "--json", environment=self.environment)["vocabulary"], 288)
        self.assertIn(url, self.verb("list"))
        self.assertIn("1 file", self.verb("rm", url))

    def test_endpoint(self):
        self.serve(model=GGUF)
        prefixed = {"CABINET_ENDPOINT": "", "HF_ENDPOINT": self.hub.url + "/"}
        self.pull(environment=prefixed)
        self.verb("rm", REPO)
        self.pull(REPO, "--endpoint", self.hub.url, environment={"CABINET_ENDPOINT": "http://127.0.0.1:1"})
        for endpoint in ("huggingface.co", "ftp://h", "http://h?x", "https://u:p@h"):
            self.pull_fails(REPO, "--endpoint", endpoint, says=["endpoint", endpoint])

    def test_status(self):
        self.serve(model=GGUF)
        for status, text in ((401, "HF_TOKEN"), (403, "HF_TOKEN"), (404, "not there"), (429, "too many"), (500, "HTTP 500")):
            for where in ("/api/", "/owner/"):
                def answers(handler, where=where, status=status):
                    if handler.path.startswith(where):
                        send(handler, status, b"\x1b[2Jgo away\n" * 99)
                    return handler.path.startswith(where)

                self.hub.answers = answers
                self.pull_fails(says=[text, str(status), REPO])
        self.hub.answers = lambda handler: False
        self.pull_fails("no/such", says=["no/such", "404"])

    def test_an_error_without_end(self):
        def answers(handler):
            handler.send_response(500)
            handler.end_headers()
            handler.close_connection = True
            while True:
                handler.wfile.write(bytes(65536))

        self.hub.answers = answers
        self.pull_fails(says=["500"])

    def test_attempts_are_bounded(self):
        self.serve(model=GGUF)
        self.hub.answers = lambda handler: send(handler, 503, b"") or True
        process = run("pull", REPO, *self.options(3), environment=self.environment)
        self.assertEqual(process.returncode, 1)
        self.assertEqual(len(self.hub.requests), 4)
        self.assertEqual(process.stderr.count(b"trying again"), 3)

    def test_nobody_listens(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            url = f"http://127.0.0.1:{server.getsockname()[1]}"
        self.pull_fails(environment={"CABINET_ENDPOINT": url}, says=["127.0.0.1", "onnect"])

    def test_a_server_that_says_nothing(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            url = f"http://127.0.0.1:{server.getsockname()[1]}"
            self.pull_fails(REPO, "--timeout", "1", environment={"CABINET_ENDPOINT": url}, says=["127.0.0.1"])

    def test_headers_without_end(self):
        def answers(handler):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
            handler.close_connection = True
            while True:
                handler.wfile.write(b"X-More: %s\r\n" % (b"x" * 1000))

        self.hub.answers = answers
        self.pull_fails(says=["headers do not end"])


class Resume(PullTest):
    def test_a_later_pull_goes_on(self):
        self.serve(model=GGUF)
        self.break_off()
        self.pull_fails(says=["kept", "pull again"])
        self.assertEqual(self.part(), GGUF[:HALF])
        file, = self.pull()["files"]
        self.assertEqual((file["resumed_bytes"], file["downloaded_bytes"]), (HALF, len(GGUF) - HALF))
        self.assertTrue(file["is_sha256_checked"])
        self.assertEqual(self.hub.downloads(), [None, f"bytes={HALF}-"])
        self.assertEqual(self.stored(), {REPO + "/model.gguf": GGUF})

    def test_within_one_pull(self):
        self.serve(model=GGUF)
        self.break_off(at=1000, times=3)
        self.assertEqual(self.pull(retries=3)["files"][0]["bytes"], len(GGUF))
        self.assertEqual(self.hub.downloads(), [None, "bytes=1000-", "bytes=2000-", "bytes=3000-"])
        self.assertEqual(self.stored(), {REPO + "/model.gguf": GGUF})

    def test_by_etag(self):
        self.serve(model=File(GGUF, listed={"size": len(GGUF)}))
        self.break_off()
        self.pull_fails()
        file, = self.pull()["files"]
        self.assertEqual((file["resumed_bytes"], file["is_sha256_checked"]), (HALF, False))
        self.assertEqual(self.hub.requests[-1][1]["If-Range"], self.hub.files[REPO]["model.gguf"].etag)
        self.assertEqual(self.stored(), {REPO + "/model.gguf": GGUF})

    def changed(self, listed):
        """Another file of the same length takes the place of one that came by half."""
        self.serve(model=File(GGUF, listed(GGUF)))
        self.break_off()
        self.pull_fails()
        other = GGUF[:-1] + bytes([GGUF[-1] ^ 1])
        self.serve(model=File(other, listed(other)))
        return other

    def test_changed_between_attempts(self):
        for listed in (lambda data: {"size": len(data)}, lambda data: {"lfs": {"sha256": sha256(data)}}, lambda data: {}):
            with self.subTest():
                other = self.changed(listed)
                self.assertEqual(self.pull()["files"][0]["resumed_bytes"], 0)
                self.assertEqual(self.stored(), {REPO + "/model.gguf": other})
                self.verb("rm", REPO)

    def test_changed_and_the_server_ignores_if_range(self):
        other = self.changed(lambda data: {"size": len(data)})
        answer_file = Hub.answer_file

        def answers(handler):
            if handler.path.startswith("/api/"):
                return False
            if "If-Range" in handler.headers:
                del handler.headers["If-Range"]
            answer_file(handler, self.hub.files[REPO]["model.gguf"])
            return True

        self.hub.answers = answers
        self.pull(retries=1)
        self.assertEqual(self.hub.downloads()[1:], [f"bytes={HALF}-", None])
        self.assertEqual(self.stored(), {REPO + "/model.gguf": other})

    def test_without_a_validator_it_starts_anew(self):
        self.serve(model=File(GGUF, listed={}))
        self.break_off(etag=False)
        error = self.pull_fails()
        self.assertNotIn("kept", error)
        self.assertEqual(self.stored(), {})
        self.break_off(etag=False)
        self.pull(retries=1)
        self.assertEqual(self.hub.downloads(), [None] * 3)
        self.assertEqual(self.stored(), {REPO + "/model.gguf": GGUF})

    def test_a_server_that_ignores_range(self):
        self.serve(model=GGUF)
        self.break_off()
        self.pull_fails()

        def answers(handler):
            if handler.path.startswith("/api/"):
                return False
            send(handler, 200, GGUF)
            return True

        self.hub.answers = answers
        self.assertEqual(self.pull()["files"][0]["resumed_bytes"], 0)
        self.assertEqual(self.hub.downloads()[-1], f"bytes={HALF}-")
        self.assertEqual(self.stored(), {REPO + "/model.gguf": GGUF})

    def test_wrong_content_range(self):
        total = len(GGUF)
        for content_range in (None, "", f"bytes {HALF - 1}-{total - 1}/{total}", f"bytes {HALF}-{total}/{total}",
                              f"bytes {HALF}-{total - 2}/{total}", f"bytes {HALF}-{total}/{total + 1}", f"bytes 0-{total - 1}/{total}",
                              "bytes */*", f"bytes {2**64}-{2**64 + 1}/{2**64 + 2}", f"bytes {HALF}-", f"items {HALF}-1/2"):
            with self.subTest(content_range=content_range):
                self.serve(model=GGUF)
                self.break_off()
                self.pull_fails()

                def answers(handler, content_range=content_range):
                    if handler.path.startswith("/api/"):
                        return False
                    send(handler, 206, GGUF[HALF:], {} if content_range is None else {"Content-Range": content_range})
                    return True

                self.hub.answers = answers
                self.pull_fails(says=["model.gguf"])
                self.assertEqual(self.part(), GGUF[:HALF], "of no fault of its own")
                self.verb("rm", REPO)

    def test_a_part_that_was_not_asked_for(self):
        self.serve(model=GGUF)
        self.hub.answers = lambda handler: not handler.path.startswith("/api/") and (send(
            handler, 206, GGUF, {"Content-Range": f"bytes 0-{len(GGUF) - 1}/{len(GGUF)}"}) or True)
        self.pull_fails(says=["sends others"])

    def test_nothing_left_to_resume(self):
        """A part as long as the file was complete but for its name; one that is longer is none."""
        self.serve(model=GGUF)
        self.break_off()
        self.pull_fails()
        part = self.models / REPO / "model.gguf.part"
        part.write_bytes(GGUF)
        self.assertEqual(self.pull()["files"][0]["downloaded_bytes"], 0)
        self.verb("rm", REPO)
        self.break_off()
        self.pull_fails()
        part.write_bytes(GGUF + b"x")
        self.assertEqual(self.pull()["files"][0]["downloaded_bytes"], len(GGUF))

    def test_416_starts_anew(self):
        self.serve(model=File(GGUF, listed={}))
        self.break_off()
        self.pull_fails()
        (self.models / REPO / "model.gguf.part").write_bytes(GGUF + b"x")
        self.pull(retries=1)
        self.assertEqual(self.stored(), {REPO + "/model.gguf": GGUF})

    def test_damaged_part(self):
        """Its SHA-256 shows it, at the end; the next pull starts anew."""
        self.serve(model=GGUF)
        self.break_off()
        self.pull_fails()
        (self.models / REPO / "model.gguf.part").write_bytes(GGUF[:HALF - 1] + b"?")
        self.pull_fails(says=["SHA-256"])
        self.assertEqual(self.stored(), {})
        (self.models / REPO).mkdir(parents=True, exist_ok=True)
        (self.models / REPO / "model.gguf.part").write_bytes(b"no model at all")
        (self.models / REPO / "model.gguf.part.from").write_text(f"sha256:{sha256(GGUF)}")
        self.assertEqual(self.pull()["files"][0]["resumed_bytes"], 0)

    def test_ctrl_c(self):
        self.serve(model=GGUF)
        half_sent, may_go = threading.Event(), threading.Event()
        self.addCleanup(may_go.set)

        def answers(handler):
            if handler.path.startswith("/api/"):
                return False
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(GGUF)))
            handler.end_headers()
            handler.wfile.write(GGUF[:HALF])
            half_sent.set()
            may_go.wait(SECONDS)
            handler.close_connection = True
            return True

        self.hub.answers = answers
        process = subprocess.Popen([CABINET, "pull", REPO], stderr=subprocess.PIPE, env={**os.environ, **self.environment})
        self.assertTrue(half_sent.wait(SECONDS))
        part = self.models / REPO / "model.gguf.part"
        while not (part.exists() and part.stat().st_size == HALF):
            self.assertIsNone(process.poll())
        self.refused("pull", REPO, says=["another cabinet"], environment=self.environment)
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=SECONDS)[1]
        self.assertEqual(process.returncode, 1)
        self.assertRegex(error, rb"\Acabinet: stopped; the first [\d.]+ MiB are kept, pull again to go on\n\Z")
        self.hub.answers = lambda handler: False
        self.assertEqual(self.pull()["files"][0]["resumed_bytes"], HALF)

    def test_full_disk(self):
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, HALF))

        self.serve(model=GGUF)
        self.pull_fails(says=["model.gguf.part", "too large", "kept"], preexec_fn=limit)
        self.assertLessEqual(len(self.part()), HALF)
        self.assertGreater(self.pull()["files"][0]["resumed_bytes"], 0)

    def test_no_room(self):
        self.serve(model=File(GGUF, listed={"size": 2**43}))
        self.hub.answers = lambda handler: not handler.path.startswith("/api/") and (send(handler, 200, GGUF, length=2**43) or True)
        self.pull_fails(says=["free", "8388608"])
        self.assertEqual(self.stored(), {})

    def test_no_permission(self):
        self.serve(model=GGUF)
        (self.folder / "cabinet").write_bytes(b"no folder")
        self.pull_fails(says=["cabinet", "directory"])


class OnATerminal(PullTest):
    def test_progress(self):
        """The second half comes when the first one has been shown."""
        self.serve(model=GGUF)
        is_shown = threading.Event()
        self.addCleanup(is_shown.set)

        def answers(handler):
            if handler.path.startswith("/api/"):
                return False
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(GGUF)))
            handler.end_headers()
            handler.wfile.write(GGUF[:HALF])
            is_shown.wait(SECONDS)
            handler.wfile.write(GGUF[HALF:])
            return True

        self.hub.answers = answers
        with unittest.mock.patch.dict(os.environ, self.environment):
            terminal = Terminal("pull", REPO)
        self.addCleanup(terminal.kill)
        terminal.wait_for(rb"model\.gguf: [\d.]+ KiB of 376 KiB")
        is_shown.set()
        terminal.wait_for(rb"\r\x1b\[Kmodel\.gguf: 376 KiB, SHA-256 as published")
        self.assertEqual(terminal.close(), 0)


class Lies(PullTest):
    def test_sha256(self):
        for listed in ({"lfs": {"sha256": "0" * 64, "size": len(GGUF)}}, {"size": len(GGUF), "lfs": {"sha256": "F" * 64}}):
            self.serve(model=File(GGUF, listed))
            self.pull_fails(says=["SHA-256"])
            self.assertEqual(self.stored(), {})

    def test_linked_headers(self):
        """What the hub says of a file before it redirects to where it lies."""
        storage = self.open_hub()
        storage.files[""] = {"blob.gguf": File(GGUF)}
        self.hub.files[""] = {}

        def redirect(etag, size):
            headers = {"Location": storage.url + "/blob.gguf", "X-Linked-ETag": etag, "X-Linked-Size": size}
            self.hub.answers = lambda handler: send(handler, 302, b"", headers) or True

        url = self.hub.url + "/model.gguf"
        redirect(f'"{"0" * 64}"', str(len(GGUF)))
        self.pull_fails(url, says=["SHA-256"])
        redirect(f'"{sha256(GGUF)}"', str(len(GGUF) + 1))
        self.pull_fails(url, says=[str(len(GGUF)), str(len(GGUF) + 1)])
        redirect(f'"{sha256(GGUF)}"', str(len(GGUF)))
        self.assertTrue(self.pull(url)["files"][0]["is_sha256_checked"])

    def test_lengths(self):
        for size in (len(GGUF) - 1, len(GGUF) + 1):
            self.serve(model=File(GGUF, listed={"size": size}))
            self.pull_fails(says=[str(len(GGUF)), str(size)])
            self.assertEqual(self.stored(), {})

    def chunked(self, body):
        def answers(handler):
            if handler.path.startswith("/api/"):
                return False
            handler.send_response(200)
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            for part in (body[:1], body[1:]):
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            handler.wfile.write(b"0\r\n\r\n")
            return True

        self.hub.answers = answers

    def test_more_or_less_than_listed_without_a_length(self):
        self.serve(model=File(GGUF, listed={"size": len(GGUF)}))
        self.chunked(GGUF + b"more")
        self.pull_fails(says=["more than", str(len(GGUF))])
        self.assertEqual(self.stored(), {})
        self.chunked(GGUF[:-9])
        self.pull_fails(says=[str(len(GGUF) - 9), str(len(GGUF))])
        self.chunked(GGUF)
        self.pull()
        self.assertEqual(self.stored(), {REPO + "/model.gguf": GGUF})

    def test_no_gguf(self):
        for content in (b"<html>log in first</html>", b"", b"GG", b"GGUE" + GGUF[4:]):
            self.serve(model=File(content))
            self.pull_fails(says=["no GGUF"])
            self.assertEqual(self.stored(), {})
            self.serve(model=File(content, listed={}))
            self.pull_fails(says=["no GGUF"])
            self.assertEqual(self.stored(), {})

    def test_listing(self):
        def siblings(*entries):
            return json.dumps({"siblings": entries}).encode()

        good = {"rfilename": "model.gguf", "size": len(GGUF)}
        listings = {
            b"": "JSON", b"<html>": "JSON", b"[]": "siblings", b"{}": "siblings", b'{"siblings": {}}': "siblings",
            b'{"siblings": [': "JSON", siblings({}): "file name", siblings({"rfilename": 7}): "file name",
            siblings(5): "file name", siblings(good, good): "twice", b'{"siblings": [{"rfilename": "\xff.gguf"}]}': "JSON",
            b"[" * 10**6: "JSON", siblings({"rfilename": "a\0x.gguf"}): "JSON", b" " * (17 << 20): "hub's listing is longer than 16 MiB",
            **{siblings({**good, "size": size}): "size" for size in (-1, 1.5, "9", 2**60, True)},
            siblings({**good, "size": 5, "lfs": {"size": 6}}): "two sizes",
            siblings({**good, "size": 2**64}): "JSON",
            **{siblings({**good, "lfs": {"sha256": digest}}): "SHA-256" for digest in ("", "0" * 63, "g" * 64, 5, "0" * 65)},
        }
        for listing, text in listings.items():
            with self.subTest(listing=listing[:80]):
                self.hub.listing = listing
                self.pull_fails(says=[text])
        self.assertFalse(self.models.exists())

    def test_names_that_leave_the_folder(self):
        names = ("../x.gguf", "a/../../x.gguf", "/etc/x.gguf", "a//x.gguf", "./x.gguf", ".x.gguf", "a\\x.gguf", "a\nx.gguf",
                 "x\x1b[2J.gguf", "é.gguf", "\u202ex.gguf", "a/.git/x.gguf", "y" * 300 + ".gguf", "y/" * 300 + "x.gguf")
        for name in names:
            with self.subTest(name=name[:40]):
                self.hub.listing = json.dumps({"siblings": [{"rfilename": name, "size": 4}]}).encode()
                self.pull_fails(says=["unsafe"])
        self.assertFalse(self.models.exists())


class Redirects(PullTest):
    TOKEN = {"HF_TOKEN": "hf_secret"}

    def redirect(self, target, when=lambda path: not path.startswith("/api/"), status=302):
        def answers(handler):
            if when(handler.path):
                send(handler, status, b"elsewhere", {"Location": target})
            return when(handler.path)

        self.hub.answers = answers

    def tokens(self, hub):
        return [headers.get("Authorization") for _, headers in hub.requests]

    def test_same_host_keeps_the_token(self):
        self.serve(model=GGUF)
        self.hub.files[""] = {"storage/blob.gguf": File(GGUF)}
        for status in (301, 302, 303, 307, 308):
            self.redirect("/storage/blob.gguf", lambda path: path.startswith("/owner/"), status)
            self.pull(environment=self.TOKEN)
            self.verb("rm", REPO)
        self.assertEqual(set(self.tokens(self.hub)), {"Bearer hf_secret"})
        self.assertEqual(len(self.hub.requests), 15)

    def test_other_host_gets_no_token(self):
        storage = self.open_hub()  # another port is another host
        storage.files[""] = {"blob.gguf": File(GGUF)}
        self.serve(model=GGUF)
        for host in ("127.0.0.1", "localhost"):
            self.redirect(storage.url.replace("127.0.0.1", host) + "/blob.gguf")
            self.pull(environment=self.TOKEN)
            self.verb("rm", REPO)
        self.assertEqual(self.tokens(storage), [None, None])
        self.assertEqual(self.tokens(self.hub), ["Bearer hf_secret"] * 4)

    def test_url_elsewhere_gets_no_token(self):
        storage = self.open_hub()
        storage.files[""] = {"model.gguf": File(GGUF)}
        self.pull(storage.url + "/model.gguf", environment=self.TOKEN)
        self.assertEqual(self.tokens(storage), [None])

    def test_and_back_with_the_token(self):
        storage = self.open_hub()
        self.serve(model=GGUF)
        self.hub.files[""] = {"blob.gguf": File(GGUF)}
        storage.answers = lambda handler: send(handler, 302, b"", {"Location": self.hub.url + "/blob.gguf"}) or True
        self.redirect(storage.url, lambda path: path.startswith("/owner/"))
        self.pull(environment=self.TOKEN)
        self.assertEqual((self.tokens(storage), self.tokens(self.hub)[-1]), ([None], "Bearer hf_secret"))

    def test_loop(self):
        self.serve(model=GGUF)
        self.redirect("/owner/repo/again")
        self.pull_fails(says=["more than 8 redirects"])
        self.assertEqual(len(self.hub.requests), 10)

    def test_other_schemes(self):
        self.serve(model=GGUF)
        self.hub.files[""] = {"x.gguf": File(GGUF)}
        with_user = self.hub.url.replace("http://", "http://user:pw@") + "/x.gguf"
        for target in ("file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x", with_user, "http://", "http://a\x9b2J/"):
            with self.subTest(target=target):
                self.redirect(target)
                self.pull_fails(says=["127.0.0.1 redirects to what is no"])
        self.assertEqual(self.stored(), {})

    def test_resumes_behind_a_redirect(self):
        storage = self.open_hub()
        self.serve(model=GGUF)
        storage.files[""] = {"blob.gguf": File(GGUF)}
        self.break_off()
        self.pull_fails()
        self.redirect(storage.url + "/blob.gguf")
        self.assertEqual(self.pull()["files"][0]["resumed_bytes"], HALF)
        self.assertEqual(storage.downloads(), [f"bytes={HALF}-"])

    def test_token_in_the_clear(self):
        self.pull_fails(environment={**self.TOKEN, "CABINET_ENDPOINT": "http://hub.example"}, says=["HF_TOKEN", "unencrypted"])
        self.pull_fails(environment={**self.TOKEN, "CABINET_ENDPOINT": "http://127.evil.example"}, says=["unencrypted"])
        for token in ("a b", "a\r\nX-Evil: 1", "\x7f"):
            self.pull_fails(environment={"HF_TOKEN": token}, says=["HF_TOKEN"])
        self.assertEqual(self.hub.requests, [])


class Tls(PullTest):
    def setUp(self):
        super().setUp()
        self.certificate, key = self.folder / "cert.pem", self.folder / "key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                        "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out",
                        self.certificate], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.plain, self.hub = self.hub, self.open_hub(context)
        self.environment["CABINET_ENDPOINT"] = self.hub.url
        self.serve(model=GGUF)

    def test_unknown_certificate(self):
        self.pull_fails(says=["127.0.0.1", "certificate"])
        self.assertEqual(self.hub.requests, [])

    def test_known_certificate(self):
        for variable in ("CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            self.pull(environment={variable: str(self.certificate), "HF_TOKEN": "hf_secret"})
            self.verb("rm", REPO)
        self.assertEqual(self.hub.requests[0][1]["Authorization"], "Bearer hf_secret")

    def test_another_name(self):
        """The certificate is for 127.0.0.1 alone."""
        self.pull_fails(environment={"CURL_CA_BUNDLE": str(self.certificate),
                                     "CABINET_ENDPOINT": self.hub.url.replace("127.0.0.1", "localhost")}, says=["localhost"])

    def test_no_way_down_to_http(self):
        self.plain.files[""] = {"blob.gguf": File(GGUF)}
        self.hub.answers = lambda handler: not handler.path.startswith("/api/") and (send(
            handler, 302, b"", {"Location": self.plain.url + "/blob.gguf"}) or True)
        self.pull_fails(environment={"CURL_CA_BUNDLE": str(self.certificate)}, says=["https to unencrypted http"])
        self.assertEqual(self.plain.requests, [])


class ListAndRemove(PullTest):
    def list(self):
        return json.loads(self.verb("list", "--json"))

    def test_empty(self):
        self.assertIn("cabinet pull", self.verb("list"))
        self.assertEqual(self.list(), {"folder": str(self.models), "bytes": 0, "models": [], "repacked_bytes": 0,
                                       "repacked_folder": str(self.folder / "cabinet" / "weights")})

    def test_list(self):
        self.serve(**{"m-Q8_0": GGUF, "m-Q4_0": GGUF})
        self.pull(REPO + ":Q8_0")
        self.pull(REPO + "@dev:Q4_0")
        (self.models / "SmolLM2-135M-Instruct.Q4_1.gguf").symlink_to(MODEL)
        (self.models / "note.txt").write_text("no model")
        (self.models / "broken.gguf").write_bytes(b"GGUF")
        report = self.list()
        rows = {row["name"]: row for row in report["models"]}
        self.assertEqual(set(rows), {REPO + ":m-Q8_0.gguf", REPO + "@dev:m-Q4_0.gguf", "smollm2", "broken.gguf"})
        self.assertEqual(report["bytes"], 3 * len(GGUF) + 4)
        path = self.models / REPO / "m-Q8_0.gguf"
        self.assertEqual(rows[REPO + ":m-Q8_0.gguf"], {
            "name": REPO + ":m-Q8_0.gguf", "path": str(path), "bytes": len(GGUF), "files": 1, "is_complete": True,
            "architecture": "llama", "repacked_bytes": 0, "modified_unix_s": int(path.stat().st_mtime)})
        self.assertIsNone(rows["broken.gguf"]["architecture"])
        for name in set(rows) - {"broken.gguf"}:
            self.assertEqual(self.json("inspect", name, "--json", environment=self.environment)["vocabulary"], 288)
        for text in ("NAME", "smollm2", "llama", REPO + "@dev:m-Q4_0.gguf"):
            self.assertIn(text, self.verb("list"))

    def test_repacked_weights(self):
        folder = self.folder / "cabinet" / "weights"
        folder.mkdir(parents=True)
        (folder / (32 * "a" + ".panels")).write_bytes(bytes(3000))
        (folder / (32 * "b" + ".panels.x1y2z3")).write_bytes(bytes(72))
        (folder / "note.panels").write_bytes(b"not ours")
        self.assertEqual(self.list()["repacked_bytes"], 3072)
        self.assertIn("Repacked weights of 2 models take 3.0 KiB", self.verb("list"))
        self.assertIn("3.0 KiB freed (2 files)", self.verb("rm", "--weights"))
        self.assertEqual([path.name for path in folder.iterdir()], ["note.panels"])
        self.assertEqual(self.list()["repacked_bytes"], 0)
        self.assertNotIn("Repacked", self.verb("list"))
        self.refused("rm", "--weights", REPO, code=2, begins="cabinet rm: ", says=["--weights"], environment=self.environment)

    def test_parts_are_listed_and_removed(self):
        self.serve(model=GGUF)
        self.break_off()
        self.pull_fails()
        row, = self.list()["models"]
        self.assertEqual((row["name"], row["bytes"], row["is_complete"]), (REPO + ":model.gguf", HALF, False))
        self.assertIn("(incomplete)", self.verb("list"))
        self.refused("inspect", REPO, says=["cabinet pull"], environment=self.environment)
        self.assertIn("1 file", self.verb("rm", REPO))
        self.assertEqual(self.stored(), {})
        self.assertFalse((self.models / "owner").exists())

    def test_remove(self):
        self.serve(**{"m-Q8_0": GGUF, "m-Q4_0": GGUF, "sub/m-Q6_K": GGUF})
        for tag in ("Q8_0", "Q4_0", "Q6_K"):
            self.pull(f"{REPO}:{tag}")
        self.assertIn("1 file", self.verb("rm", REPO + ":q4_0"))
        self.assertEqual(set(self.stored()), {REPO + "/m-Q8_0.gguf", REPO + "/sub/m-Q6_K.gguf"})
        self.assertIn("2 files", self.verb("rm", REPO))
        self.assertEqual(self.stored(), {})

    def test_remove_by_short_name(self):
        self.models.mkdir(parents=True)
        (self.models / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(GGUF)
        (self.models / "other").mkdir()
        (self.models / "other" / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(GGUF)
        self.verb("rm", "smollm2")
        self.assertEqual(set(self.stored()), {"other/SmolLM2-135M-Instruct.Q4_1.gguf"})

    def test_nothing_else_is_removed(self):
        outside = self.file("model.gguf", GGUF)
        self.serve(model=GGUF)
        self.pull()
        keep = self.models / REPO / "notes.txt"
        keep.write_text("mine")
        for name in (str(outside), "../../model.gguf", "model.gguf", "no/such", "smollm2", REPO + ":Q4_0", "owner", "", ".",
                     "http://127.0.0.1/model.gguf", "../models/owner/repo/model.gguf", "owner/repo:../repo/model.gguf"):
            self.refused("rm", name, says=["not in the cache folder"], environment=self.environment, cwd=self.folder)
        self.assertTrue(outside.exists())
        self.assertIn(REPO + "/model.gguf", self.stored())
        self.verb("rm", REPO)
        self.assertTrue(keep.exists())


if __name__ == "__main__":
    unittest.main()
