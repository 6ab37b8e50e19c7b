"""The official openai package, pointed at a server under test; nothing is retried behind a test's back."""

import openai

from cabinet import SECONDS

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Oslo", "Lima"]}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {
        "type": "object", "properties": {"utc": {"type": "boolean"}}, "required": ["utc"], "additionalProperties": False}},
}
TOOLS = [WEATHER, CLOCK]


def client(server, key="none", kind=openai.OpenAI, **options):
    return kind(base_url=server.url + "/v1", api_key=key, max_retries=0, timeout=SECONDS, **options)


def user(text):
    return [{"role": "user", "content": text}]


def parameters_of(name):
    return next(tool["function"]["parameters"] for tool in TOOLS if tool["function"]["name"] == name)
