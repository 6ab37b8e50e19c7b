"""A model in several files: the first one's path opens all of them, and the answer is that of the model in one file."""

import unittest

import gguf_edit
from cabinet import MODEL, TINY, CabinetTest
from gguf_edit import I32, U16


class Split(CabinetTest):
    def split(self, source, n_parts, has_metadata_first=False):
        """The paths of the parts of a model."""
        parts = gguf_edit.split(gguf_edit.read(source), n_parts, has_metadata_first)
        return [part.write(self.folder / gguf_edit.part_name(source.stem, i, n_parts)) for i, part in enumerate(parts)]

    def answer(self, path):
        return self.json("run", path, "-p", "The", "--temp", "0", "-n", "20", "--json")

    def test_same_answer(self):
        for name in ("llama_tied", "qwen2_untied", "qwen3"):
            source = TINY / f"{name}.gguf"
            expected = self.answer(source)
            for n_parts, has_metadata_first in ((2, False), (3, False), (3, True)):
                with self.subTest(name=name, n_parts=n_parts, has_metadata_first=has_metadata_first):
                    first = self.split(source, n_parts, has_metadata_first)[0]
                    answer = self.answer(first)
                    self.assertEqual(answer["token_ids"], expected["token_ids"])
                    self.assertEqual(answer["text"], expected["text"])

    def test_inspect_counts_all_parts(self):
        whole = self.json("inspect", MODEL, "--json")
        first = self.split(MODEL, 3)[0]
        split = self.json("inspect", first, "--json")
        self.assertEqual((whole.pop("files"), split.pop("files")), (1, 3))
        self.assertEqual(split, whole)
        text = self.done("inspect", first).decode()
        self.assertIn("20 tensors", text)
        self.assertIn("in 3 files", text)
        self.assertNotIn("files", self.done("inspect", MODEL).decode())

    def refused_by_all(self, path, *says):
        self.refused("run", path, "-p", "hi", "-n", "1", says=says)
        self.refused("inspect", path, says=says)

    def test_later_part(self):
        first, second, third = self.split(MODEL, 3)
        self.refused_by_all(second, second.name, "part 2 of 3", first.name)
        self.refused_by_all(third, third.name, "part 3 of 3", first.name)

    def test_missing_part(self):
        first, second, third = self.split(MODEL, 3)
        third.unlink()
        self.refused_by_all(first, third.name, "no such file")
        second.unlink()
        self.refused_by_all(first, second.name, "no such file")

    def test_other_name(self):
        first = self.split(MODEL, 2)[0]
        self.refused_by_all(first.rename(self.folder / "model.gguf"), "model.gguf", "-00001-of-00002.gguf")

    def test_part_of_another_model(self):
        first, second, _ = self.split(MODEL, 3)
        stranger = gguf_edit.read(second)
        stranger.set("split.tensors.count", 7)
        stranger.write(second)
        self.refused_by_all(first, second.name, "another model", first.name)

    def test_tensor_twice(self):
        first, second = self.split(MODEL, 2)
        part = gguf_edit.read(second)
        part.tensors[0] = gguf_edit.read(first).tensors[0]
        part.write(second)
        self.refused_by_all(first, first.name, second.name, part.tensors[0].name, "twice")

    def test_part_that_is_cut(self):
        first, second = self.split(MODEL, 2)
        second.write_bytes(second.read_bytes()[:-100])
        self.refused_by_all(first, second.name, "past the end of the file")
        second.write_bytes(b"")
        self.refused_by_all(first, second.name, "empty")


if __name__ == "__main__":
    unittest.main()
