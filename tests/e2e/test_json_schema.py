"""Answers held to JSON schemas: each of them ends, parses, and is valid to an independent validator (PyPI: jsonschema).

    CABINET_GENERATIONS=1000 test_json_schema.py     the number of answers for each model; 50 unless said (make soak: 1,000)

Every schema is bounded, so that max_tokens are enough for whatever a model, here one with random weights, makes of it.
"""

import concurrent.futures
import itertools
import json
import os
import unittest

from jsonschema import Draft202012Validator
from openai_client import client, user
from pydantic import BaseModel, Field
from served import ServedTest
from typing_extensions import Literal

N_GENERATIONS = int(os.environ.get("CABINET_GENERATIONS", "50"))
MAX_TOKENS = 1500
WORD = {"type": "string", "minLength": 1, "maxLength": 12}
SMALL = {"type": "integer", "minimum": 0, "maximum": 99}


def thing(properties, required=None, **more):
    return {"type": "object", "properties": properties, "required": list(properties if required is None else required),
            "additionalProperties": False, **more}


SCHEMAS = {
    "a person": thing({"name": WORD, "age": {"type": "integer", "minimum": 0, "maximum": 130}}),
    "optional fields": thing({"a": {"type": "boolean"}, "b": {"type": "null"}, "c": SMALL}, required=["b"]),
    "no required field": thing({"a": SMALL, "b": SMALL}, required=[]),
    "words of a list": {"enum": ["red", "green", "blue", 7, None, True, [1, 2], {"x": "y"}]},
    "a constant": thing({"kind": {"const": "point"}, "x": SMALL, "y": SMALL}),
    "integers of one sign": {"type": "array", "items": {"type": "integer", "minimum": -999, "maximum": -1}, "minItems": 2, "maxItems": 5},
    "exclusive limits": {"type": "integer", "exclusiveMinimum": 10, "exclusiveMaximum": 20},
    "strings of a length": {"type": "array", "items": {"type": "string", "minLength": 3, "maxLength": 5}, "minItems": 3, "maxItems": 3},
    "a pattern": thing({"plate": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{1,4}$"}}),
    "formats": thing({"id": {"type": "string", "format": "uuid"}, "host": {"type": "string", "format": "ipv4"}, "time": {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"}}),
    "nested objects": thing({"a": thing({"b": thing({"c": thing({"d": {"type": "boolean"}})})})}),
    "a table": {"type": "array", "minItems": 2, "maxItems": 3, "items": {"type": "array", "items": SMALL, "minItems": 3, "maxItems": 3}},
    "a tuple": {"type": "array", "prefixItems": [WORD, SMALL, {"type": "boolean"}], "items": False, "minItems": 3},
    "one of several": {"anyOf": [thing({"circle": SMALL}), thing({"width": SMALL, "height": SMALL}), {"type": "null"}]},
    "types in a list": {"type": ["boolean", "null"]},
    "references": {"$defs": {"point": thing({"x": SMALL, "y": SMALL})}, **thing({"from": {"$ref": "#/$defs/point"}, "to": {"$ref": "#/$defs/point"}})},
    "names with signs": thing({"a b": SMALL, "quote\"": SMALL, "ünïcödé": SMALL, "$x/y~z": SMALL}),
    "both at once": {"allOf": [thing({"n": {"type": "integer", "minimum": 5, "maximum": 9}}), {"type": "object", "properties": {"n": {"type": "integer"}}}]},
    "many fields": thing({f"field_{i}": {"enum": list("abc")} for i in range(20)}),
    "a tree of two levels": thing({"value": SMALL, "children": {"type": "array", "maxItems": 2, "items": thing({"value": SMALL, "children": {
        "type": "array", "maxItems": 1, "items": thing({"value": SMALL})}})}}),
}


class Person(BaseModel):
    name: str = Field(max_length=12)
    age: int = Field(ge=0, le=130)
    role: Literal["admin", "guest"]


class Schemas(ServedTest):
    def setUp(self):
        self.client = client(self.server)
        self.addCleanup(self.client.close)

    def answer(self, number, name, **options):
        """The text of a whole answer, every other one streamed."""
        format = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMAS[name], "strict": True}}
        request = {"model": "tiny", "messages": user(f"As JSON, please: {name}."), "seed": number, "max_tokens": MAX_TOKENS,
                   "response_format": format, **options}
        if number % 2 == 0:
            choice = self.client.chat.completions.create(**request).choices[0]
            return choice.message.content, choice.finish_reason
        text = ""
        with self.client.chat.completions.create(**request, stream=True) as stream:
            for chunk in stream:
                text += chunk.choices[0].delta.content or ""
        return text, chunk.choices[0].finish_reason

    def test_every_answer_is_valid(self):
        self.assertEqual(len(SCHEMAS), 20)
        jobs = list(zip(range(N_GENERATIONS), itertools.cycle(SCHEMAS)))
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda job: self.answer(*job), jobs)
            texts = {}
            for (number, name), (text, finish) in zip(jobs, answers):
                with self.subTest(number=number, schema=name, text=text):
                    self.assertEqual(finish, "stop")
                    Draft202012Validator(SCHEMAS[name], format_checker=Draft202012Validator.FORMAT_CHECKER).validate(json.loads(text))
                    texts.setdefault(name, set()).add(text)
        self.assertEqual(texts.keys(), SCHEMAS.keys())
        self.assertGreater(sum(map(len, texts.values())), N_GENERATIONS // 2)  # they are chosen, not one answer over and over

    def test_greedy_answers_are_valid_too(self):
        for name in ("a person", "one of several", "many fields"):
            text, finish = self.answer(0, name, temperature=0)
            self.assertEqual(finish, "stop", text)
            Draft202012Validator(SCHEMAS[name]).validate(json.loads(text))

    def test_models_of_pydantic(self):
        """As the openai package makes schemas of them and reads the answers back."""
        for seed in range(3):
            answer = self.client.chat.completions.parse(model="tiny", messages=user("Who?"), response_format=Person, seed=seed, max_tokens=MAX_TOKENS)
            self.assertIsInstance(answer.choices[0].message.parsed, Person)
        parsed = self.client.responses.parse(model="tiny", input="Who?", text_format=Person, max_output_tokens=MAX_TOKENS).output_parsed
        self.assertIsInstance(parsed, Person)

    def test_an_answer_that_is_cut_is_a_beginning(self):
        text, finish = self.answer(0, "many fields", max_tokens=20)
        self.assertEqual(finish, "length")
        self.assertRegex(text, r"\A\s*\{")
        with self.assertRaises(json.JSONDecodeError):
            json.loads(text)

    def test_any_object(self):
        n_whole = 0
        for seed in range(10):
            choice = self.client.chat.completions.create(model="tiny", messages=user("An object, please."), seed=seed, max_tokens=300,
                                                         response_format={"type": "json_object"}).choices[0]
            self.assertRegex(choice.message.content, r"\A\s*\{")
            if choice.finish_reason == "stop":
                self.assertIsInstance(json.loads(choice.message.content), dict)
                n_whole += 1
        self.assertGreater(n_whole, 0)

    def test_logprobs_are_of_what_was_allowed(self):
        schema = {"enum": ["yes", "no"]}
        answer = self.client.chat.completions.create(model="tiny", messages=user("Well?"), seed=1, max_tokens=20, logprobs=True, response_format={
            "type": "json_schema", "json_schema": {"name": "answer", "schema": schema}})
        entries = answer.choices[0].logprobs.content
        self.assertIn("".join(entry.token for entry in entries if entry.bytes), ('"yes"', '"no"'))


if __name__ == "__main__":
    unittest.main(verbosity=2)
