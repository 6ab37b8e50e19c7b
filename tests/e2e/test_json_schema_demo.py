"""test_json_schema.py again, by the demo model: tokens of several letters, and answers that mean something."""

import os
import pathlib
import unittest

import test_json_schema

MODEL = pathlib.Path(os.environ["CABINET_TEST_DATA"]) / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


class DemoModel(test_json_schema.Schemas):
    OPTIONS = ("--model-name", "tiny", "--ctx", "2048", "--max-sequences", "8")

    @classmethod
    def model_file(cls):
        return MODEL


if __name__ == "__main__":
    unittest.main(verbosity=2)
