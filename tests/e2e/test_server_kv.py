"""What of a server's cache is whose: keys and cache_salt keep apart, lists, pins, drops, and `cabinet kv` over them. With a tiny
random model, one token a byte."""

import concurrent.futures
import json
import pathlib
import tempfile
import unittest

import gguf_edit
from cabinet import MODEL, CabinetTest, run
from served import ServedTest, roomy
from serving import Server

ASK = {"max_tokens": 2, "ignore_eos": True, "temperature": 0}
TEXT = "abcdefgh" * 45 + "abcde"  # nothing that the vocabulary merges
BLOCK = 32
BLOCK_BYTES = 16384  # of the tiny model


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def cached(server, text=TEXT, key=None, path="/v1/completions", **fields):
    """Tokens of a prompt that were found in the cache."""
    headers = bearer(key) if key else {}
    body = {**ASK, **fields}
    if path == "/v1/completions":
        body["prompt"] = text
    elif path == "/v1/responses":
        body["input"] = text
        body["max_output_tokens"] = body["max_tokens"]
    else:
        body["messages"] = [{"role": "user", "content": text}]
    status, answer = server.ask(path, body, headers)
    assert status == 200, answer
    usage = answer["usage"]
    if path == "/v1/messages":
        return usage["cache_read_input_tokens"]
    return usage.get("prompt_tokens_details", usage.get("input_tokens_details"))["cached_tokens"]


def listed(server, key=None, query=""):
    return server.get("/v1/kv" + query, bearer(key) if key else {})["data"]


class Keys(unittest.TestCase):
    """Two clients and an admin."""

    FIRST, SECOND, ADMIN = "key-of-the-first", "key-of-the-second", "key-of-the-admin"
    OPTIONS = ()

    def setUp(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        (folder / "keys").write_text(f"{self.FIRST}\n{self.SECOND}\n")
        (folder / "admin").write_text(f"{self.ADMIN}\n")
        self.server = self.enterContext(Server("--api-key-file", folder / "keys", "--admin-key-file", folder / "admin", *self.OPTIONS,
                                               model=roomy(folder)))


class Isolation(Keys):
    def test_keys_never_share(self):
        for path in ("/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages"):
            self.assertEqual(cached(self.server, key=self.FIRST, path=path), 0, path)
            self.assertGreater(cached(self.server, key=self.FIRST, path=path), 10 * BLOCK, path)
            for key in (self.SECOND, self.ADMIN):
                self.assertEqual(cached(self.server, key=key, path=path), 0, path)
            self.server.ask("/v1/kv", None, bearer(self.ADMIN), "DELETE")

    def test_not_while_they_run_together_either(self):
        """Of each key somebody computes the prompt, also while another key's requests are about to have it."""
        keys = 4 * [self.FIRST, self.SECOND]
        with concurrent.futures.ThreadPoolExecutor(len(keys)) as pool:
            found = list(pool.map(lambda key: cached(self.server, 8 * TEXT, key), keys))
        for key in (self.FIRST, self.SECOND):
            self.assertEqual(min(n for n, whose in zip(found, keys) if whose == key), 0, found)

    def test_a_salt_parts_one_key_and_joins_no_two(self):
        self.assertEqual(cached(self.server, key=self.FIRST), 0)
        self.assertEqual(cached(self.server, key=self.FIRST, cache_salt="a"), 0)
        self.assertGreater(cached(self.server, key=self.FIRST, cache_salt="a"), 10 * BLOCK)
        self.assertEqual(cached(self.server, key=self.FIRST, cache_salt="b"), 0)
        self.assertEqual(cached(self.server, key=self.SECOND, cache_salt="a"), 0)

    def test_lists_show_ones_own(self):
        cached(self.server, key=self.FIRST)
        cached(self.server, key=self.FIRST, cache_salt="a/b")
        own = listed(self.server, self.FIRST)
        self.assertEqual([(entry["tokens"], entry["bytes"], entry["path_bytes"]) for entry in own],
                         [(len(TEXT) // BLOCK * BLOCK, len(TEXT) // BLOCK * BLOCK_BYTES, len(TEXT) // BLOCK * BLOCK_BYTES)])
        self.assertNotIn("salt", own[0])
        self.assertEqual(listed(self.server, self.SECOND), [])
        self.assertEqual(len(listed(self.server, self.FIRST, "?cache_salt=a%2Fb")), 1)
        self.assertEqual(listed(self.server, self.FIRST, "?cache_salt=a"), [])
        self.assertEqual(listed(self.server, self.SECOND, "?cache_salt=a%2Fb"), [])
        everybody = listed(self.server, self.ADMIN)
        self.assertEqual(len({entry["salt"] for entry in everybody}), 2)
        self.assertNotIn("abcdef", json.dumps(everybody))

    def test_nobody_acts_on_another(self):
        cached(self.server, key=self.FIRST)
        label = listed(self.server, self.ADMIN)[0]["salt"]
        for key in (self.SECOND, self.ADMIN):
            for route in ("pin", "unpin"):
                status, answer = self.server.ask(f"/v1/kv/{route}", {"prompt": TEXT}, bearer(key))
                self.assertEqual(status, 404, answer)
        for body in (None, {}, {"prompt": TEXT}):
            status, answer = self.server.ask("/v1/kv", body, bearer(self.SECOND), "DELETE")
            self.assertEqual((status, answer["freed_bytes"]), (200, 0))
        self.assertEqual(self.server.ask("/v1/kv", {"salt": label}, bearer(self.SECOND), "DELETE")[0], 403)
        self.assertEqual(self.server.ask("/v1/kv", {"salt": "0" * 16}, bearer(self.ADMIN), "DELETE"), (200, {"object": "kv.drop", "freed_bytes": 0}))
        self.assertGreater(cached(self.server, key=self.FIRST), 10 * BLOCK)
        status, answer = self.server.ask("/v1/kv", {"salt": label}, bearer(self.ADMIN), "DELETE")
        self.assertEqual((status, answer["freed_bytes"]), (200, len(TEXT) // BLOCK * BLOCK_BYTES))
        self.assertEqual(cached(self.server, key=self.FIRST), 0)

    def test_an_admin_drops_everybodys(self):
        for key in (self.FIRST, self.SECOND):
            for salt in ("a", "b"):
                cached(self.server, key=key, cache_salt=salt)
        status, answer = self.server.ask("/v1/kv", None, bearer(self.ADMIN), "DELETE")
        self.assertEqual((status, answer["freed_bytes"]), (200, 4 * (len(TEXT) // BLOCK) * BLOCK_BYTES))
        self.assertEqual(listed(self.server, self.ADMIN), [])


class ByRequest(Keys):
    OPTIONS = ("--salt-by", "request")

    def test_only_the_field_counts(self):
        self.assertEqual(cached(self.server, key=self.FIRST), 0)
        self.assertGreater(cached(self.server, key=self.SECOND), 10 * BLOCK)
        self.assertEqual(cached(self.server, key=self.SECOND, cache_salt="a"), 0)
        self.assertGreater(cached(self.server, key=self.FIRST, cache_salt="a"), 10 * BLOCK)


class ByNothing(Keys):
    OPTIONS = ("--salt-by", "none")

    def test_all_share(self):
        self.assertEqual(cached(self.server, key=self.FIRST), 0)
        self.assertGreater(cached(self.server, key=self.SECOND, cache_salt="a"), 10 * BLOCK)


class SaltOptions(CabinetTest):
    def test_an_unknown_way(self):
        process = run("serve", MODEL, "--salt-by", "host")
        self.assertEqual(process.returncode, 2)
        self.assertIn(b"none of key, request and none", process.stderr)

    def test_in_a_config_file(self):
        """Without keys cache_salt parts requests; the file says otherwise."""
        for config, shares in ((b"\n", False), (b"salt-by = none\n", True), (b"salt-by = request\n", False)):
            path = self.file("config", config)
            with Server("--config", path, model=roomy(self.folder)) as server:
                cached(server, cache_salt="a")
                self.assertEqual(cached(server, cache_salt="b") > 0, shares)


class Prefixes(ServedTest):
    """No keys: what is listed is all there is."""

    def setUp(self):
        self.drop()

    def drop(self, **body):
        status, answer = self.server.ask("/v1/kv", body, method="DELETE")
        self.assertEqual(status, 200, answer)
        return answer["freed_bytes"]

    def refused(self, path, body, status, says, method="POST"):
        got, answer = self.server.ask(path, body, method=method)
        self.assertEqual(got, status, answer)
        self.assertIn(says, answer["error"]["message"])

    def test_an_entry_tells(self):
        cached(self.server)
        (entry,) = listed(self.server)
        self.assertEqual((entry["users"], entry["hits"], entry["pinned_seconds"], entry["priority"]), (0, 0, None, 0))
        cached(self.server)
        cached(self.server)
        (entry,) = listed(self.server)
        self.assertEqual((entry["users"], entry["hits"]), (0, 2))
        self.assertGreaterEqual(entry["age_seconds"], entry["idle_seconds"])
        events = self.server.events("/v1/completions", {**ASK, "prompt": TEXT, "max_tokens": 3000})
        next(events)
        self.assertIn(1, [entry["users"] for entry in listed(self.server)])
        events.close()

    def test_a_branch_is_listed_with_its_ends(self):
        common = TEXT[:2 * BLOCK]
        for end in ("a", "b"):
            cached(self.server, common + end * 2 * BLOCK)
        entries = sorted((entry["tokens"], entry["bytes"], entry["path_bytes"]) for entry in listed(self.server))
        self.assertEqual(entries, [(2 * BLOCK, 2 * BLOCK_BYTES, 2 * BLOCK_BYTES)] + 2 * [(4 * BLOCK, 2 * BLOCK_BYTES, 4 * BLOCK_BYTES)])

    def test_a_drop_forgets_a_prefix_and_no_other(self):
        common = TEXT[:2 * BLOCK]
        texts = [common + end * 2 * BLOCK for end in ("a", "b")]
        for text in texts:
            cached(self.server, text)
        self.assertEqual(self.drop(prompt=texts[0]), 2 * BLOCK_BYTES)
        self.assertEqual(cached(self.server, texts[1]), 4 * BLOCK - 1)
        self.assertEqual(cached(self.server, texts[0]), 2 * BLOCK)
        self.assertEqual(self.drop(prompt=common), 6 * BLOCK_BYTES)
        self.assertEqual(cached(self.server, texts[1]), 0)

    def test_a_conversation_is_a_prefix_too(self):
        messages = [{"role": "user", "content": TEXT}]
        status, answer = self.server.ask("/v1/chat/completions", {**ASK, "messages": messages, "cache_salt": "s"})
        self.assertEqual(status, 200)
        n = answer["usage"]["prompt_tokens"]
        status, answer = self.server.ask("/v1/kv/pin", {"messages": messages, "cache_salt": "s", "ttl_seconds": 60, "priority": 7})
        self.assertEqual((status, answer), (200, {"object": "kv.pin", "prompt_tokens": n, "pinned_tokens": n // BLOCK * BLOCK, "ttl_seconds": 60, "priority": 7}))
        (entry,) = listed(self.server)
        self.assertEqual(entry["priority"], 7)
        self.assertTrue(0 <= entry["pinned_seconds"] <= 60)
        self.assertEqual(self.drop(), 0)
        _, tokens = self.server.ask("/tokenize", {"messages": messages})
        status, answer = self.server.ask("/v1/kv/unpin", {"tokens": tokens["tokens"], "cache_salt": "s"})
        self.assertEqual((status, answer), (200, {"object": "kv.unpin", "prompt_tokens": n, "unpinned_tokens": n // BLOCK * BLOCK}))
        self.assertEqual(listed(self.server)[0]["pinned_seconds"], None)
        self.assertEqual(self.drop(), n // BLOCK * BLOCK_BYTES)

    def test_a_pin_ends_by_itself(self):
        cached(self.server)
        self.server.ask("/v1/kv/pin", {"prompt": TEXT, "ttl_seconds": 1})
        for _ in range(200000):  # each look is an answer of the engine's thread: there is nothing to sleep for
            if listed(self.server)[0]["pinned_seconds"] is None:
                break
        self.assertIsNone(listed(self.server)[0]["pinned_seconds"])
        self.assertGreater(self.drop(), 0)

    def test_what_is_refused(self):
        cached(self.server)
        self.refused("/v1/kv/pin", {"prompt": "z" * 100}, 404, "nothing of these 100 tokens is in the cache")
        self.refused("/v1/kv/unpin", {"prompt": TEXT}, 404, "is pinned")
        self.refused("/v1/kv/pin", {"prompt": "abc"}, 400, "blocks of 32")
        self.refused("/v1/kv", {"prompt": "abc"}, 400, "blocks of 32", "DELETE")
        self.refused("/v1/kv/pin", {}, 400, "prefix is missing")
        self.refused("/v1/kv/pin", {"prompt": TEXT, "ttl_seconds": -1}, 400, "ttl_seconds is -1")
        self.refused("/v1/kv/pin", {"prompt": TEXT, "model": "other"}, 404, "not served here")
        self.refused("/v1/kv/pin", {"tokens": [10**9]}, 400, "no token id")
        self.refused("/v1/completions", {**ASK, "prompt": "a", "cache_salt": 7}, 400, "cache_salt must be a string")
        self.refused("/v1/chat/completions", {**ASK, "messages": [{"role": "user", "content": "a"}], "cache_salt": ""}, 400, "cache_salt has 0 bytes")
        self.refused("/v1/kv?cache_salt=%00", None, 400, "percent-encoded", "GET")
        self.refused("/v1/kv?limit=5", None, 400, "the query may hold", "GET")
        for body in (b"{", b"[]", b"\xff", b"[" * 500, b'{"prompt": "' + b"a" * 100, b"null", b'{"tokens": [1e400]}'):
            for path, method in (("/v1/kv/pin", "POST"), ("/v1/kv/unpin", "POST"), ("/v1/kv", "DELETE")):
                self.assertEqual(self.server.ask(path, body, method=method)[0], 400, body)
        self.assertEqual(self.server.ask("/v1/kv", b"x=y", {"Content-Type": "text/plain"}, "DELETE")[0], 415)
        self.assertEqual(self.server.ask("/v1/kv/pin", None, method="GET")[0], 405)
        connection = self.server.connection()
        connection.request("PUT", "/v1/kv")
        response = connection.getresponse()
        self.assertEqual((response.status, response.getheader("Allow")), (405, "GET, HEAD, DELETE"))
        connection.close()

    def test_all_before_the_first_difference_is_shared(self):
        """Regenerating an answer, and editing an earlier turn, compute nothing again that stands before the change."""
        turns = [{"role": "user", "content": TEXT}, {"role": "assistant", "content": "Yes. " * 30}, {"role": "user", "content": "And then? " * 12}]
        def ask(messages):
            status, answer = self.server.ask("/v1/chat/completions", {**ASK, "max_tokens": 40, "messages": messages})
            self.assertEqual(status, 200, answer)
            return answer["usage"]["prompt_tokens"], answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        def tokens(messages):
            return self.server.ask("/tokenize", {"messages": messages})[1]["tokens"]
        n, found = ask(turns)
        self.assertEqual(found, 0)
        self.assertEqual(ask(turns), (n, n - 1))  # regenerate: all but the token whose logits are wanted
        edited = [*turns[:2], {"role": "user", "content": "And now? " * 12}]
        n_equal = next(i for i, (a, b) in enumerate(zip(tokens(turns), tokens(edited))) if a != b)
        self.assertEqual(ask(edited)[1], n_equal)
        self.assertEqual(ask(turns), (n, n - 1))  # the other branch is still there


class Pressure(CabinetTest):
    """A pool of few blocks."""

    N_BLOCKS = 24

    def server(self):
        file = gguf_edit.read(MODEL)
        file.set("llama.context_length", self.N_BLOCKS * BLOCK, gguf_edit.U32)
        # The cache never takes more than its sequences could fill: here one of the whole context, and three of idle ones.
        return Server("--kv-memory", str(self.N_BLOCKS * BLOCK_BYTES), "--max-sequences", "1", model=file.write(self.folder / "small.gguf"))

    def test_a_pin_survives_and_ends(self):
        kept, other = "a" * 5 * BLOCK, "b" * 5 * BLOCK
        with self.server() as server:
            cached(server, kept)
            cached(server, other)
            self.assertEqual(server.ask("/v1/kv/pin", {"prompt": kept})[1]["pinned_tokens"], 5 * BLOCK)
            for i in range(8):
                self.assertEqual(cached(server, chr(ord("c") + i) * 17 * BLOCK), 0)
            self.assertEqual(cached(server, other), 0)
            self.assertEqual(cached(server, kept), 5 * BLOCK - 1)
            self.assertEqual(server.ask("/v1/kv/unpin", {"prompt": kept})[0], 200)
            for i in range(8):
                cached(server, chr(ord("p") + i) * 17 * BLOCK)
            self.assertEqual(cached(server, kept), 0)
            server.settled()

    def test_more_than_half_the_pool(self):
        with self.server() as server:
            cached(server, "a" * 13 * BLOCK)
            status, answer = server.ask("/v1/kv/pin", {"prompt": "a" * 13 * BLOCK})
            self.assertEqual((status, answer["error"]["code"]), (400, "too_much_pinned"), answer)
            numbers = [int(word) for word in answer["error"]["message"].split() if word.isdigit()]
            self.assertEqual(numbers[:2], [13 * BLOCK_BYTES, self.N_BLOCKS // 2 * BLOCK_BYTES])
            self.assertEqual(server.ask("/v1/kv/pin", {"prompt": "a" * 12 * BLOCK})[1]["pinned_tokens"], 12 * BLOCK)


class Shell(ServedTest):
    """cabinet kv."""

    def kv(self, *words, code=0, **options):
        process = run("kv", self.server.url, *words, **options)
        self.assertEqual(process.returncode, code, process.stderr)
        return (process.stdout if code == 0 else process.stderr).decode()

    def setUp(self):
        self.kv("drop")

    def test_list_pin_drop(self):
        self.assertEqual(self.kv(), "Nothing of yours is cached.\n")
        cached(self.server)
        n = len(TEXT) // BLOCK * BLOCK
        row = self.kv("list").splitlines()[1].split()
        self.assertEqual(row[:3], [str(n), str(n // BLOCK * 16), "KiB"])
        self.assertEqual(self.kv("pin", "-p", TEXT, "--ttl", "7200", "--priority", "9"), f"{n} of {len(TEXT)} tokens are pinned for 7200 s\n")
        (entry,) = json.loads(self.kv("--json"))["data"]
        self.assertEqual((entry["tokens"], entry["priority"]), (n, 9))
        self.assertGreater(entry["pinned_seconds"], 7000)
        self.assertEqual(self.kv("drop"), "0 B freed\n")
        self.assertEqual(self.kv("unpin", "-f", "-", stdin=TEXT.encode()), f"{n} of {len(TEXT)} tokens are pinned no more\n")
        self.assertEqual(self.kv("drop", "-p", TEXT), f"{n // BLOCK * 16} KiB freed\n")

    def test_conversations_and_salts(self):
        messages = [{"role": "user", "content": TEXT}]
        self.server.ask("/v1/chat/completions", {**ASK, "messages": messages, "cache_salt": "a b"})
        for content in (messages, {"messages": messages, "priority": -5}):
            path = pathlib.Path(self.folder) / "messages.json"
            path.write_text(json.dumps(content))
            self.assertIn("tokens are pinned", self.kv("pin", "--messages", path, "--cache-salt", "a b"))
            self.assertIn("pinned no more", self.kv("unpin", "--messages", path, "--cache-salt", "a b"))
        self.assertEqual(self.kv("--cache-salt", "a"), "Nothing of yours is cached.\n")
        self.assertIn("KiB", self.kv("--cache-salt", "a b"))

    def test_what_fails(self):
        self.assertIn("nothing of these 90 tokens is in the cache", self.kv("pin", "-p", "z" * 90, code=1))
        for words, says in ((["pin"], "needs a prefix"), (["list", "-p", "a"], "takes no prefix"), (["purge"], "none of list"),
                            (["drop", "--ttl", "5"], "belong to pin"), (["pin", "-p", "a", "-f", "b"], "is enough"), (["pin", "-p", "a", "--ttl", "0"], "--ttl")):
            self.assertIn(says, self.kv(*words, code=2))
        for words, says in ((["pin", "-f", "/nowhere"], "/nowhere"), (["pin", "--messages", "/dev/null"], "neither")):
            self.assertIn(says, self.kv(*words, code=1))
        for url, says in (("ftp://127.0.0.1", "no http"), ("http://127.0.0.1:1", "127.0.0.1:1"), ("", "no http")):
            process = run("kv", url)
            self.assertEqual(process.returncode, 1)
            self.assertIn(says, process.stderr.decode())

    def test_keys(self):
        path = pathlib.Path(self.folder) / "keys"
        path.write_text("# comment\nfirst-key\nsecond-key\n")
        with Server("--api-key-file", path, model=MODEL) as server:
            process = run("kv", server.url)
            self.assertEqual((process.returncode, process.stderr.count(b"\n")), (1, 1))
            self.assertIn(b"an API key is needed", process.stderr)
            self.assertEqual(run("kv", server.url, "--api-key-file", path).returncode, 0)
            self.assertEqual(run("kv", server.url, environment={"CABINET_API_KEY": "second-key"}).returncode, 0)
            process = run("kv", server.url, environment={"CABINET_API_KEY": "secret-key"})
            self.assertEqual(process.returncode, 1)
            self.assertNotIn(b"secret-key", process.stderr)


if __name__ == "__main__":
    unittest.main()
