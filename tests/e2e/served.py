"""What tests with real clients share: a server for each class, the tiny random model with room for tools, and its end."""

import pathlib
import tempfile
import unittest

import gguf_edit
from cabinet import MODEL
from serving import Server

CONTEXT = 4096


def roomy(folder, source=MODEL):
    """A copy of the tiny model, one token a byte, whose context takes a whole system message about tools."""
    file = gguf_edit.read(source)
    file.set("llama.context_length", CONTEXT, gguf_edit.U32)
    return file.write(pathlib.Path(folder) / "roomy.gguf")


class ServedTest(unittest.TestCase):
    """One server for all tests of a class; after each of them nothing may be left in it."""

    OPTIONS = ("--model-name", "tiny")

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.server = cls.enterClassContext(Server(*cls.OPTIONS, model=cls.model_file()))

    @classmethod
    def model_file(cls):
        return roomy(cls.folder)

    def tearDown(self):
        self.server.settled()
