"""Bad input: one line on standard error that says what and where, an exit code, and never a crash."""

import ctypes
import random
import unittest

import gguf_edit
from cabinet import MODEL, TINY, CabinetTest, run
from gguf_edit import ARRAY, BOOL, F32, STRING, U32


def drop_override():
    """In a child: root, too, may read only what the mode allows."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


class BadFile(CabinetTest):
    def refused_by_all(self, path, *says):
        """By the verb that computes and by the one that only reads the header."""
        self.refused("run", path, "-p", "hi", "-n", "1", says=says)
        self.refused("inspect", path, says=says)

    def test_not_there(self):
        self.refused_by_all("no/such.gguf", "no/such.gguf", "no file")

    def test_unreadable(self):
        path = self.file("secret.gguf", MODEL.read_bytes())
        path.chmod(0)
        self.refused("inspect", path, says=["secret.gguf", "ermission"], preexec_fn=drop_override)
        self.refused("run", path, "-p", "hi", says=["secret.gguf", "ermission"], preexec_fn=drop_override)

    def test_folder(self):
        self.refused_by_all(self.folder, str(self.folder), "directory")

    def test_no_gguf(self):
        self.refused_by_all(self.file("a.gguf", b""), "a.gguf", "empty")
        self.refused_by_all(self.file("b.gguf", b"hello, world, this is a text\n" * 9), "b.gguf", "GGUF")
        self.refused_by_all(self.file("c.gguf", bytes(4096)), "c.gguf", "GGUF")

    def test_version(self):
        self.refused_by_all(self.edited(lambda file: setattr(file, "version", 99)), "version", "99")

    def test_truncated_anywhere(self):
        data = MODEL.read_bytes()
        for length in [5, 10, 23, 24, 40, 200, 3000, 5000, 6500, 7000, 20000, len(data) - 40, len(data) - 1]:
            with self.subTest(length=length):
                self.refused_by_all(self.file("cut.gguf", data[:length]), "cut.gguf")

    def test_absurd_counts(self):
        data = MODEL.read_bytes()
        for at, what in ((8, "tensors"), (16, "entries")):
            for count in (2**32, 2**60, 2**64 - 1):
                with self.subTest(what=what, count=count):
                    broken = data[:at] + count.to_bytes(8, "little") + data[at + 8:]
                    self.refused_by_all(self.file("many.gguf", broken), "many.gguf")

    def test_length_that_overflows(self):
        data = MODEL.read_bytes()
        for length in (2**40, 2**63, 2**64 - 1, 2**64 - 33):
            broken = data[:24] + length.to_bytes(8, "little") + data[32:]
            self.refused_by_all(self.file("long.gguf", broken), "long.gguf")

    def test_tensor_outside_the_file(self):
        for offset in (2**20, 2**63, 2**64 - 32):
            path = self.edited(lambda file, offset=offset: setattr(file.tensor("output_norm.weight"), "offset", offset))
            self.refused_by_all(path, "output_norm.weight")

    def test_dims_that_overflow(self):
        for dims in ([2**32, 2**32], [2**62, 8], [2**63, 2], [64, 2**40]):
            path = self.edited(lambda file, dims=dims: setattr(file.tensor("token_embd.weight"), "dims", dims))
            self.refused_by_all(path, "token_embd.weight")

    def test_tensor_type(self):
        def make_iq3_s(file):
            tensor = file.tensor("blk.0.attn_q.weight")
            tensor.type, tensor.data = gguf_edit.TYPE_IQ3_S, bytes(64 * 64 // 256 * 110)

        self.refused_by_all(self.edited(make_iq3_s), "blk.0.attn_q.weight", "IQ3_S")
        unknown = self.edited(lambda file: setattr(file.tensor("blk.0.attn_q.weight"), "type", 4711))
        self.refused_by_all(unknown, "blk.0.attn_q.weight", "4711")

    def test_random_damage(self):
        """Whatever a flipped byte does, it is an answer or one line."""
        data, random_bytes = MODEL.read_bytes(), random.Random(1)
        head = data.index(b"output_norm.weight") + 40
        for _ in range(60):
            broken = bytearray(data)
            for _ in range(random_bytes.choice([1, 1, 2, 8])):
                broken[random_bytes.randrange(head)] = random_bytes.randrange(256)
            process = run("run", self.file("damaged.gguf", broken), "-p", "hi", "-n", "2", "--temp", "0")
            error = process.stderr.decode(errors="replace")
            self.assertIn(process.returncode, (0, 1), error)
            self.assertRegex(error, r"\A[^\n]+\n\Z")


class BadModel(CabinetTest):
    """Files that are GGUF, but no model that runs."""

    def refused_after(self, change, *says, source=MODEL):
        return self.refused("run", self.edited(change, source), "-p", "hi", "-n", "1", says=says)

    def test_missing_tensor(self):
        names = [tensor.name for tensor in gguf_edit.read(MODEL).tensors if not tensor.name.startswith("blk.0.")]
        for name in names:
            with self.subTest(name=name):
                self.refused_after(lambda file, name=name: file.remove(name), name, "missing")

    def test_missing_norm(self):
        self.refused_after(lambda file: file.remove("blk.1.attn_k_norm.weight"), "blk.1.attn_k_norm.weight", "missing",
                           source=TINY / "qwen3.gguf")

    def test_wrong_shape(self):
        shapes = {"blk.0.ffn_down.weight": [64, 112], "blk.1.attn_k.weight": [64, 32], "blk.0.attn_norm.weight": [32],
                  "token_embd.weight": [288, 64], "output_norm.weight": [8, 8]}
        for name, dims in shapes.items():
            with self.subTest(name=name):
                self.refused_after(lambda file, dims=dims, name=name: setattr(file.tensor(name), "dims", dims), name)

    def test_vocabulary_disagrees_with_embedding(self):
        def drop_token(file):
            for key in ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type"):
                element, items = file.values[key][1]
                file.set(key, (element, items[:-1]))
            file.values.pop("tokenizer.ggml.padding_token_id")

        self.refused_after(drop_token, "token_embd.weight", "287", "288")

    def test_architecture(self):
        path = self.edited(lambda file: file.set("general.architecture", "mamba9"))
        for verb in (["run", path, "-p", "hi"], ["inspect", path]):
            self.refused(*verb, says=["mamba9", "llama", "qwen2", "qwen3"])

    def test_no_architecture(self):
        self.refused_after(lambda file: file.values.pop("general.architecture"), "general.architecture")

    def test_metadata_values(self):
        changes = {
            "llama.block_count": [0, 2**32 - 1, 3], "llama.embedding_length": [0, 2**31, 63],
            "llama.feed_forward_length": [0, 2**31, 111], "llama.attention.head_count": [0, 2**31, 5],
            "llama.attention.head_count_kv": [0, 2**31, 3], "llama.context_length": [0, 2**32 - 1],
            "llama.rope.dimension_count": [0, 15, 2**31],
        }
        for key, values in changes.items():
            for value in values:
                with self.subTest(key=key, value=value):
                    self.refused_after(lambda file, key=key, value=value: file.set(key, value))
        for value in (0.0, -1.0, float("nan"), float("inf")):
            for key in ("llama.rope.freq_base", "llama.attention.layer_norm_rms_epsilon"):
                with self.subTest(key=key, value=value):
                    self.refused_after(lambda file, key=key, value=value: file.set(key, value), key)

    def test_widths(self):
        """What the workspace would need has a bound that follows from the embedding, whatever the tensors' shapes."""
        self.refused_after(lambda file: file.set("llama.feed_forward_length", 64 * 32 + 1), "FFN of 2049", "64")
        self.refused_after(lambda file: file.set("llama.feed_forward_length", 64 * 32), "blk.0.ffn_gate.weight", "2048")

        def widen_heads(file, head_dim):
            for key in ("attention.key_length", "attention.value_length"):
                file.set(f"llama.{key}", head_dim, U32)

        self.refused_after(lambda file: widen_heads(file, 514), "4 query heads of 514", "64")
        self.refused_after(lambda file: widen_heads(file, 512), "blk.0.attn_q.weight", "2048")

    def test_metadata_kinds(self):
        for key, kind, value in (("llama.block_count", STRING, "two"), ("llama.block_count", F32, 2.5),
                                 ("general.architecture", U32, 1), ("tokenizer.ggml.tokens", STRING, "a"),
                                 ("tokenizer.ggml.tokens", ARRAY, (U32, [1, 2])), ("tokenizer.ggml.merges", BOOL, True)):
            with self.subTest(key=key, kind=kind):
                self.refused_after(lambda file, key=key, value=value, kind=kind: file.set(key, value, kind), key)

    def test_missing_metadata(self):
        for key in ("llama.block_count", "llama.embedding_length", "llama.context_length", "llama.attention.head_count",
                    "tokenizer.ggml.tokens", "tokenizer.ggml.model"):
            with self.subTest(key=key):
                self.refused_after(lambda file, key=key: file.values.pop(key), key)

    def test_rope_scaling(self):
        self.refused_after(lambda file: file.set("llama.rope.scaling.type", "spiral", STRING), "spiral")

    def test_tokenizer(self):
        self.refused_after(lambda file: file.set("tokenizer.ggml.model", "wordpiece9"), "wordpiece9")
        self.refused_after(lambda file: file.set("tokenizer.ggml.pre", "unheard-of"), "unheard-of")
        self.refused_after(lambda file: file.set("tokenizer.ggml.eos_token_id", 5000), "5000")

    def test_template(self):
        self.refused_after(lambda file: file.set("tokenizer.chat_template", "{% for x in %}"), "template")
        self.refused_after(lambda file: file.set("tokenizer.chat_template", "{{ raise_exception('no!') }}"), "no!")
        loop = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a * b }}{% endfor %}{% endfor %}"
        self.refused_after(lambda file: file.set("tokenizer.chat_template", loop), "template")
        no_utf8 = self.edited(lambda file: file.set("tokenizer.chat_template", b"{{ 'a\xff' }}"))
        self.refused("run", no_utf8, "-p", "hi", says=["UTF-8"])

    def test_no_template(self):
        path = self.edited(lambda file: file.remove_template())
        self.refused("run", path, "-p", "hi", says=["template", "--raw"])
        self.assertEqual(self.json("run", path, "-p", "hi", "-n", "3", "--raw", "--json")["output_tokens"], 3)


class BadRequest(CabinetTest):
    def refused_with(self, *arguments, says=(), **options):
        return self.refused("run", MODEL, *arguments, says=says, **options)

    def test_prompt_longer_than_the_context(self):
        self.refused_with("-p", "word " * 600, says=["prompt", "512"])
        self.refused_with("-p", "word " * 30, "--ctx", "32", says=["prompt", "32"])

    def test_context_longer_than_the_models(self):
        self.refused_with("-p", "hi", "--ctx", "4096", says=["4096", "512"])

    def test_prompt_is_no_utf8(self):
        for text in (b"a\xff", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"):
            path = self.file("prompt.txt", text)
            self.refused_with("-f", path, says=["UTF-8"])
            self.refused_with("-f", path, "--raw", says=["UTF-8"])
            self.refused_with("-p", text, says=["UTF-8"])
        self.refused_with(stdin=b"a\xff\n", says=["UTF-8"])

    def test_prompt_file(self):
        self.refused_with("-f", "no/such.txt", says=["no/such.txt"])
        self.refused_with("-f", self.folder, says=[str(self.folder)])
        self.refused_with("-f", self.file("zero.txt", b"a\0b"), says=["zero.txt", "NUL"])
        secret = self.file("secret.txt", b"hi")
        secret.chmod(0)
        self.refused_with("-f", secret, says=["secret.txt", "ermission"], preexec_fn=drop_override)

    def test_empty_prompt(self):
        self.refused_with("-p", "", "--raw", says=["empty"])

    def test_memory_that_is_not_there(self):
        self.refused_with("-p", "hi", "--kv-memory", "900T", says=["900 TiB", "free"])
        self.refused_with("-p", "hi", "--kv-memory", "101%", says=["free"])

    def test_pool_without_room_for_a_block(self):
        self.refused_with("-p", "hi", "--kv-memory", "1K", says=["1024", "16384"])

    def test_pool_without_room_for_the_prompt(self):
        error = self.refused_with("-p", "word " * 60, "--kv-memory", "48K", says=["bytes"])
        self.assertRegex(error, r"\d{5,}")

    def test_sampling(self):
        for option, value in (("--top-p", "7"), ("--top-p", "-1"), ("--min-p", "2"), ("--temp", "-1"),
                              ("--repeat-penalty", "0"), ("--repeat-penalty", "-2")):
            with self.subTest(option=option, value=value):
                self.refused_with("-p", "hi", option, value, says=[option.strip("-"), value])

    def test_usage(self):
        """Wrong usage has the verb's name before its message, and exit code 2."""
        for option, value in (("--kv", "q9"), ("--temp", "warm"), ("--temp", "nan"), ("--seed", "-1"), ("-n", "0"), ("-n", "x"),
                              ("--ctx", "1"), ("--threads", "0"), ("--threads", "5000"), ("--kv-memory", "much"),
                              ("--kv-memory", "-5M"), ("--kv-memory", "5Q"), ("--kv-memory", "0")):
            with self.subTest(option=option, value=value):
                error = self.refused_with("-p", "hi", option, value, says=[value], code=2, begins="cabinet run: ")
                self.assertIn("format" if option == "--kv" else option.strip("-"), error)

    def test_usage_with_a_hint(self):
        for arguments, says in ((["run"], "MODEL"), (["run", MODEL, MODEL], "MODEL"), (["run", MODEL, "--json"], "--json"),
                                (["run", MODEL, "-p", "a", "-f", "b"], "-p"), (["run", MODEL, "--frobnicate"], "frobnicate"),
                                (["inspect"], "MODEL"), (["bench"], "MODEL")):
            process = run(*arguments)
            self.assertEqual(process.returncode, 2, arguments)
            self.assertIn(says, process.stderr.decode())
        self.refused("frobnicate", says=["frobnicate", "help"], code=2)
        self.assertEqual(run().returncode, 2)


if __name__ == "__main__":
    unittest.main()
