#!/usr/bin/env python3
"""Writes the seed corpora of the fuzz targets: tests/fuzz/corpus/<target>/<seed>.

Python's standard library only; the same bytes on every run. Each seed is a small file that gets far into the parser
or fails at one particular check. What a fuzzer found later is added beside them by hand, named `found-...`, and this
script leaves it alone.
"""

import json
import os
import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
PACK = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<B", U64: "<Q", I64: "<q",
        F64: "<d"}
# number: elements and bytes of a group
WEIGHTS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
           11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 20: (32, 18), 23: (256, 136), 30: (1, 2),
           39: (32, 17)}


def string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, content):
    if kind == STRING:
        return string(content)
    if kind == ARRAY:
        element, items = content
        return struct.pack("<IQ", element, len(items)) + b"".join(value(element, item) for item in items)
    return struct.pack(PACK[kind], content)


def key(name, kind, content):
    return string(name) + struct.pack("<I", kind) + value(kind, content)


def tensor(name, kind, dims, offset):
    return (string(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims) +
            struct.pack("<IQ", kind, offset))


def gguf(values=(), tensors=(), data=b"", version=3, alignment=32, n_tensors=None, n_values=None):
    n_tensors = len(tensors) if n_tensors is None else n_tensors
    n_values = len(values) if n_values is None else n_values
    head = b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_values) + b"".join(values) + b"".join(tensors)
    return head + bytes(-len(head) % alignment) + data if data else head


def bytes_of(n):
    return bytes(i % 251 for i in range(n))


def scalars():
    return [key("u8", U8, 255), key("i8", I8, -128), key("u16", U16, 65535), key("i16", I16, -1),
            key("u32", U32, 2**32 - 1), key("i32", I32, -(2**31)), key("f32", F32, 1e-5), key("bool", BOOL, 1),
            key("string", STRING, "text"), key("u64", U64, 2**64 - 1), key("i64", I64, -(2**63)),
            key("f64", F64, -0.5), key("nan", F32, float("nan")), key("inf", F64, float("inf"))]


def arrays():
    numbers = [key("array %d" % kind, ARRAY, (kind, [0, 1, 1])) for kind in PACK]
    return numbers + [key("strings", ARRAY, (STRING, ["", "a", "bc"])), key("no strings", ARRAY, (STRING, [])),
                      key("no numbers", ARRAY, (I64, []))]


def all_weights():
    tensors, offset = [], 0
    for kind, (elements, size) in WEIGHTS.items():
        tensors.append(tensor("weight.%d" % kind, kind, [2 * elements, 2], offset))
        offset += -(-4 * size // 32) * 32
    return gguf(tensors=tensors, data=bytes_of(offset))


def vocabulary():
    pieces = ["<unk>", "<s>", "</s>"] + ["%c" % c for c in range(33, 60)]
    return gguf([key("general.architecture", STRING, "llama"), key("tokenizer.ggml.model", STRING, "gpt2"),
                 key("tokenizer.ggml.tokens", ARRAY, (STRING, pieces)),
                 key("tokenizer.ggml.scores", ARRAY, (F32, [-float(i) for i in range(len(pieces))])),
                 key("tokenizer.ggml.token_type", ARRAY, (I32, [3] * 3 + [1] * (len(pieces) - 3))),
                 key("tokenizer.ggml.merges", ARRAY, (STRING, ["a b", "b c"]))])


def one_tensor(kind=0, dims=(8,), offset=0, data=32, **rest):
    return gguf(tensors=[tensor("weight", kind, dims, offset)], data=bytes_of(data), **rest)


def gguf_seeds():
    small = gguf([key("general.alignment", U32, 64), key("strings", ARRAY, (STRING, ["a", ""]))],
                 [tensor("a", 0, [2, 2], 0), tensor("b", 8, [32], 64)], bytes_of(64 + 34), alignment=64)
    seeds = {
        "empty": b"", "magic": b"GGUF", "head-cut": b"GGUF\3\0\0\0\0", "no-entries": gguf(),
        "version-1": gguf(version=1), "version-2": gguf(scalars(), version=2), "version-4": gguf(version=4),
        "big-endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian-magic": b"FUGG" + bytes(20),
        "lfs-pointer": b"version https://git-lfs.github.com/spec/v1\n", "zip": b"PK\3\4", "web-page": b"<html>",
        "scalars": gguf(scalars()), "arrays": gguf(arrays()), "vocabulary": vocabulary(),
        "weights": all_weights(), "small": small, "small-v2": small[:4] + b"\2" + small[5:],
        "dims-4": one_tensor(dims=(2, 2, 2, 1)), "dims-0": one_tensor(dims=()), "dims-5": one_tensor(dims=(1,) * 5),
        "dim-zero": one_tensor(dims=(8, 0)), "dims-overflow": one_tensor(dims=(2**32, 2**32)),
        "bytes-overflow": one_tensor(dims=(2**62,)), "type-q5_1": one_tensor(7, (32,)),
        "type-unknown": one_tensor(2**32 - 1), "part-of-group": one_tensor(2, (48, 2), data=100),
        "offset-odd": one_tensor(offset=1, data=64), "offset-wraps": one_tensor(offset=2**64 - 32),
        "data-short": one_tensor(data=31), "data-absent": one_tensor(data=0),
        "many-tensors": gguf(n_tensors=2**60), "many-keys": gguf(n_values=2**60),
        "key-twice": gguf([key("k", U8, 1), key("k", U8, 2)]), "key-empty": gguf([key("", U64, 1)]),
        "key-hostile": gguf([string(b"\x1b[2J\n\xff\xe2\x80\xae") + struct.pack("<IQ", 99, 0)]),
        "key-too-long": gguf([string(b"k" * 300) + struct.pack("<IQ", 77, 0)]),
        "tensor-twice": gguf(tensors=[tensor("t", 0, [1], 0)] * 2, data=bytes(4)),
        "bool-2": gguf([key("b", BOOL, 2)]), "bools-2": gguf([key("b", ARRAY, (BOOL, [0, 1, 2]))]),
        "array-nested": gguf([key("n", ARRAY, (ARRAY, [(U8, [1])]))]),
        "array-of-unknown": gguf([string("n") + struct.pack("<IIQ", ARRAY, 55, 0)]),
        "array-too-long": gguf([string("n") + struct.pack("<IIQ", ARRAY, U64, 2**61)]),
        "strings-too-many": gguf([string("n") + struct.pack("<IIQ", ARRAY, STRING, 2**61)]),
        "string-too-long": gguf([string("n") + struct.pack("<IQ", STRING, 2**64 - 1)]),
    }
    for alignment in (0, 1, 8, 24, 4096, 2**31):
        padding = alignment if alignment in (8, 4096) else 32
        seeds["alignment-%d" % alignment] = gguf([key("general.alignment", U32, alignment)],
                                                 [tensor("t", 1, [4], 0)], bytes_of(8), alignment=padding)
    for end in (60, 90, 130, len(small) - 1):
        seeds["cut-%d" % end] = small[:end]
    for missing in (1, 2):  # the last string ends that many bytes behind the file
        seeds["last-string-%d" % missing] = gguf([key("k", STRING, "text")])[:-missing]
    seeds["alignment-text"] = gguf([key("general.alignment", STRING, "32")])
    return seeds


def listing(*siblings, wanted=""):
    return (wanted + "\n" if wanted else "").encode() + json.dumps({"siblings": siblings}).encode()


def sibling(name, size=9, sha256=None):
    return {"rfilename": name, "size": size, "lfs": {"size": size, "sha256": sha256 or "0a" * 32, "pointerSize": 135}}


def listing_seeds():
    quants = [sibling("model-%s.gguf" % tag) for tag in ("F16", "Q8_0", "Q4_K_M", "IQ4_XS")]
    parts = [sibling("d/m-Q4_0-0000%d-of-00003.gguf" % n) for n in (1, 2, 3)]
    return {
        "empty": b"", "no-json": b"<html>", "array": b"[]", "object": b"{}", "no-siblings": b'{"siblings": 5}',
        "cut": listing(*quants)[:-40], "no-name": listing({}), "name-number": listing({"rfilename": 1}),
        "quants": listing(*quants, {"rfilename": "README.md", "size": 5}), "tag": listing(*quants, wanted="q8_0"),
        "absent": listing(*quants, wanted="Q2_K"), "only": listing(sibling("model.gguf")),
        "ambiguous": listing(sibling("a.gguf"), sibling("b.gguf")), "many": listing(*[sibling("%050d.gguf" % n) for n in range(40)]),
        "split": listing(*parts), "split-part": listing(*parts, wanted="m-Q4_0-00002-of-00003.gguf"),
        "split-lacks": listing(*parts[:2], wanted="Q4_0"), "companions": listing(sibling("mmproj-Q4_0.gguf"), sibling("imatrix.gguf")),
        "twice": listing(quants[0], quants[0]), "up": listing(sibling("../x.gguf")), "absolute": listing(sibling("/x.gguf")),
        "control": listing(sibling("\x1b[2J.gguf")), "nul": listing(sibling("a\0.gguf")), "long": listing(sibling("y" * 300 + ".gguf")),
        "size-negative": listing(sibling("a.gguf", -1)), "size-real": listing(sibling("a.gguf", 0.5)),
        "size-huge": listing(sibling("a.gguf", 2**62)), "size-overflow": listing(sibling("a.gguf", 2**65)),
        "size-two": listing({"rfilename": "a.gguf", "size": 1, "lfs": {"size": 2}}),
        "size-none": listing({"rfilename": "a.gguf", "size": None, "lfs": None}),
        "sha-short": listing(sibling("a.gguf", 9, "0a")), "sha-letters": listing(sibling("a.gguf", 9, "zz" * 32)),
        "utf8": b'{"siblings": [{"rfilename": "\xff.gguf"}]}', "deep": b"[" * 3000,
    }


def part(number, count, n_tensors, names=("a", "b"), more=()):
    """A part of a split model; a number that is None is left out."""
    values = [key(name, kind, content) for name, kind, content in
              (("split.no", U16, number), ("split.count", U16, count), ("split.tensors.count", I32, n_tensors))
              if content is not None]
    tensors = [tensor(name, 0, [4, 2], 32 * i) for i, name in enumerate(names)]
    return gguf([*more, *values], tensors, bytes_of(32 * len(names)) or bytes(1))


def parts(*files):
    """What fuzz_split.c reads: how many, the lengths of all but the last, the files."""
    return bytes([len(files) - 1]) + b"".join(struct.pack("<H", len(file)) for file in files[:-1]) + b"".join(files)


def split_seeds():
    first, second, third = part(0, 3, 6), part(1, 3, 6, ("c", "d")), part(2, 3, 6, ("e", "longer"))
    architecture = key("general.architecture", STRING, "llama")
    return {
        "three": parts(first, second, third), "two": parts(part(0, 2, 4, more=[architecture]), part(1, 2, 4, "cd")),
        "metadata-first": parts(part(0, 2, 2, (), [architecture]), part(1, 2, 2)), "one": parts(part(0, 1, 2)),
        "joined": parts(part(0, 0, 2)), "no-split": parts(part(None, None, None)), "empty": b"",
        "missing": parts(first, second), "too-many": parts(part(0, 2, 4), part(1, 2, 4, "cd"), third),
        "order": parts(first, third, second), "later-part": parts(second), "no-beyond-count": parts(part(5, 3, 6)),
        "count-65535": parts(part(0, 65535, 6), second), "other-count": parts(first, part(1, 2, 6, "cd"), third),
        "other-total": parts(first, part(1, 3, 7, "cd"), third), "wrong-total": parts(part(0, 2, 5), part(1, 2, 5, "cd")),
        "no-number": parts(part(None, 2, 4), part(1, 2, 4, "cd")), "no-total": parts(part(0, 2, None), part(1, 2, 4, "cd")),
        "twice": parts(part(0, 2, 4), part(1, 2, 4, ("c", "a"))), "text": parts(first, b"no GGUF", third),
        "cut": parts(first, second[:-9], third),
    }


def http_seeds():
    """What fuzz_http.c reads: a byte for the size of the pieces, what a client sends."""
    host = b"Host: a\r\n"
    post, chunked = b"POST /p HTTP/1.1\r\n" + host, b"Transfer-Encoding: chunked\r\n\r\n"
    get = b"GET /a?b=c HTTP/1.1\r\n" + host + b"\r\n"
    return {name: b"\x02" + data for name, data in {
        "get": get, "pipeline": get * 3 + post + b"Content-Length: 2\r\n\r\nhi" + get, "old": b"GET / HTTP/1.0\r\n\r\n",
        "old-kept": b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2, "close": get[:-2] + b"Connection: close\r\n\r\n" + get,
        "head": get.replace(b"GET", b"HEAD"), "length": post + b"Content-Length: 5\r\n\r\nhello" + get,
        "continue": post + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx", "cut": post + b"Content-Length: 5\r\n\r\nhel",
        "chunked": post + chunked + b"5\r\nhello\r\n1;a=b\r\n!\r\n0\r\nTrailer: t\r\n\r\n" + get,
        "chunk-too-long": post + chunked + b"2\r\nhello\r\n0\r\n\r\n", "chunk-without-size": post + chunked + b"\r\n\r\n" + get,
        "chunk-bare": post + chunked + b"5\nhello\n0\n\n", "chunk-huge": post + chunked + b"fffffffffffffff\r\n",
        "trailer-nul": post + chunked + b"0\r\n\0\r\n" + get, "trailer-bare": post + chunked + b"0\r\na: b\n\n\r\n\r\n" + get,
        "trailers": post + chunked + b"0\r\n" + b"a: b\r\n" * 200, "both": post + b"Content-Length: 5\r\n" + chunked + b"0\r\n\r\n",
        "twice": post + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "bare": get.replace(b"\r\n", b"\n"),
        "folded": get[:-2] + b" more\r\n\r\n", "space": post + b"Content-Length : 5\r\n\r\nhello", "plus": post + b"Content-Length: +5\r\n\r\n",
        "two-hosts": get[:-2] + host + b"\r\n", "large": post + b"Content-Length: 301\r\n\r\n", "long": b"GET /" + b"a" * 700,
        "many": get[:-2] + b"a:b\r\n" * 110 + b"\r\n", "empty-lines": b"\r\n" * 5 + get, "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    }.items()}


def ask(api, **fields):
    """What fuzz_ask.c reads: the API's digit or a letter, the body."""
    return (str(api) if isinstance(api, int) else api).encode() + json.dumps(fields).encode()


def ask_seeds():
    chat, completions, responses, messages = range(4)
    hi = [{"role": "user", "content": "hi"}]
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    function = {"name": "f", "description": "d", "parameters": schema}
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    deep = 200
    return {
        "chat": ask(chat, messages=hi),
        "chat-options": ask(chat, model="m", messages=hi, stream=True, stream_options={"include_usage": True}, max_tokens=5,
                            max_completion_tokens=6, temperature=0.5, top_p=0.9, top_k=40, min_p=0.1, n=2, stop=["a", "b"],
                            seed=1, presence_penalty=1, frequency_penalty=-1, repetition_penalty=1.1,
                            logit_bias={"1": 2}, logprobs=True, top_logprobs=3, user="u", ignore_eos=True, min_tokens=1,
                            priority=2, response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}),
        "chat-tools": ask(chat, tools=[{"type": "function", "function": function}], parallel_tool_calls=False,
                          tool_choice={"type": "function", "function": {"name": "f"}},
                          messages=[{"role": "developer", "content": [{"type": "text", "text": "be"}]}, *hi,
                                    {"role": "assistant", "content": None, "tool_calls": [call]},
                                    {"role": "tool", "tool_call_id": "c1", "content": "r"}]),
        "chat-continue": ask(chat, messages=[*hi, {"role": "assistant", "content": "so"}], echo=True,
                             continue_final_message=True, add_generation_prompt=False),
        "chat-image": ask(chat, messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": ""}}]}]),
        "completions": ask(completions, prompt="x", echo=True, max_tokens=0, logprobs=2, best_of=2, suffix=None),
        "completions-many": ask(completions, prompt=["a", [1, 2], "b"], n=2),
        "completions-ids": ask(completions, prompt=[1, 2, 999]),
        "responses": ask(responses, input="x", instructions="be", text={"format": {"type": "json_object"}},
                         metadata={"k": "v"}, store=True, include=["message.output_text.logprobs"], top_logprobs=1),
        "responses-items": ask(responses, tools=[{"type": "function", **function}], tool_choice="required",
                               input=[{"role": "user", "content": [{"type": "input_text", "text": "a"}]},
                                      {"type": "reasoning"}, {"type": "function_call", "call_id": "c", "name": "f",
                                                              "arguments": "{}"},
                                      {"type": "function_call_output", "call_id": "c", "output": "r"}]),
        "messages": ask(messages, max_tokens=1, messages=hi, system=[{"type": "text", "text": "s"}], stop_sequences=["x"],
                        metadata={"user_id": "u"}),
        "messages-tools": ask(messages, max_tokens=1, tools=[{"name": "f", "input_schema": schema}],
                              tool_choice={"type": "any", "disable_parallel_tool_use": True},
                              messages=[*hi, {"role": "assistant", "content": [
                                  {"type": "thinking", "thinking": ""}, {"type": "text", "text": "t"},
                                  {"type": "tool_use", "id": "c", "name": "f", "input": {}}, {"type": "text", "text": "u"}]},
                                  {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "r"}]}]),
        "kv-pin": ask("p", prompt="x", cache_salt="s", ttl_seconds=60, priority=255, model="m"),
        "kv-unpin": ask("u", messages=hi, cache_salt="s", max_tokens=5), "kv-drop": ask("d", tokens=[1, 999], salt="00ff"),
        "kv-drop-all": b"d", "kv-two": ask("p", prompt=[1, 2], tokens=[1]), "kv-query": b"qcache_salt=a%2Fb+%c3%a4",
        "deep": b'0{"x":' + b"[" * deep, "deep-objects": b"0" + b'{"":' * deep, "nul": b'0{"x":"\\u0000"}',
        "not-utf8": b'0{"x":"\xff\xfe"}', "large": b'1{"prompt":[1e999]}', "larger": b'1{"prompt":[99999999999999999999]}',
        "behind": b'2{"input":"x"} x', "twice": b'3{"max_tokens":1,"max_tokens":"x"}', "array": b"0[]", "nothing": b"0",
    }


def schema_seeds():
    def schema(value):
        return b"j" + json.dumps(value).encode()

    text, number = {"type": "string"}, {"type": "integer"}
    person = {"type": "object", "properties": {"name": {**text, "minLength": 1, "maxLength": 9},
                                               "age": {**number, "minimum": 0, "exclusiveMaximum": 130},
                                               "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2}},
              "required": ["name"], "additionalProperties": False}
    tree = {"$ref": "#/$defs/t", "$defs": {"t": {"type": ["array", "null"], "items": {"$ref": "#/$defs/t"}}}}
    loop = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b", **text}, "b": {"$ref": "#/$defs/a", **text}}}
    circle = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
    chain = {f"{i}": {"properties": {"a": {"$ref": f"#/$defs/{i + 1}"}}} for i in range(300)}
    merged = {"allOf": [{"properties": {"a": number}, "required": ["a"]}, {"anyOf": [{"properties": {"b": text}}, {}]}]}
    powers = {"allOf": [{**text, "pattern": f"(a|b)*a(a|b){{{i + 10}}}"} for i in range(20)]}
    hermes = (b'lstart: "<tool_call>\\n" call ("; " call)* "\\n</tool_call>"\ncall: %json ' +
              json.dumps({**person, "x-guidance": {"whitespace_flexible": False}}).encode())
    return {
        "empty": b"j", "any": schema({}), "true": b"jtrue", "false": b"jfalse", "array": b"j[]", "cut": b'j{"type":',
        "object": schema({"type": "object"}), "person": schema(person), "tree": schema(tree), "itself": schema({"$ref": "#"}),
        "loop": schema(loop), "circle": schema(circle), "merged": schema(merged),
        "chain": schema({"$ref": "#/$defs/0", "$defs": {**chain, "300": text}}),
        "outside": schema({"$ref": "http://example.com/a"}), "file": schema({"$ref": "file:///etc/passwd"}),
        "one-of": schema({"oneOf": [{"const": 1}, {"const": "a"}, {"type": "null"}]}), "not": schema({"not": {}}),
        "formats": schema({"prefixItems": [{**text, "format": f} for f in ("date-time", "email", "ipv6", "uri", "uuid")],
                           "minItems": 5, "items": False}),
        "pattern": schema({**text, "pattern": "^[A-Z]{2}-\\d{3}\u20ac$"}), "look": schema({**text, "pattern": "(?=a)b"}),
        "nested": schema({**text, "pattern": "((((a{1,100}){1,100}){1,100}){1,100}){1,100}"}),
        "states": schema({**text, "pattern": "^(a|b)*a(a|b){300}$"}), "powers": schema(powers),
        "names": schema({"patternProperties": {"^a": number, "^b": text}, "properties": {"ab": {"minimum": 3}}}),
        "few": schema({"properties": {"a": {}, "b": {}}, "minProperties": 1, "additionalProperties": False}),
        "many": schema({"minItems": 10**9, "items": {"maxLength": 10**9, **text}}), "multiple": schema({"multipleOf": 0.07}),
        "range": schema({"type": "number", "minimum": -1e300, "maximum": 1e-300}), "wrong": schema({**text, "minLength": "é" * 70}),
        "deep": b"j" + b'{"items":' * 200 + b"{}" + b"}" * 200, "guidance": schema({"x-guidance": {"lenient": 1}}),
        "not-utf8": b'j{"title":"\xff"}', "hermes": hermes, "rules": b'lstart: a | "b" start\na: /[x-z]+/ a?\n',
        "no-start": b"la: /b/", "left": b'lstart: start "a" | ""', "repeat": b'lstart: ("a"{1,100000}){1,100000}',
        "token": b"lstart: <[257]> <[0-255]>", "special": b"lstart: <|im_end|>", "and": b"lstart: A\nA: /a+b?/ & ~/aa/",
        "words": b'lstart: %regex {"substring_words": "a b c"}', "bytes": b'l%llguidance {"allow_invalid_utf8": true}\nstart: /./',
        "regex": b"r[a-c]{2,4}|\\p{L}+", "slash": b"ra/b\\/c\n", "bad": b"r(", "nothing": b"r", "no-match": b"r[^\\s\\S]",
    }


SHAPE = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 8,
         "num_key_value_heads": 2, "vocab_size": 1000, "max_position_embeddings": 4096, "tie_word_embeddings": True}
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LATENT = {"kv_lora_rank": 32, "q_lora_rank": 48, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 16,
          "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_shared_experts": 1,
          "first_k_dense_replace": 1}


def config_seeds():
    def config(kind, **more):
        return json.dumps({"model_type": kind, **SHAPE, **more}).encode()

    layers = ["sliding_attention", "full_attention"] * 2
    return {
        "llama": config("llama"), "mistral": config("mistral", sliding_window=128), "no-heads": config("llama", num_key_value_heads=0),
        "qwen2": config("qwen2", use_sliding_window=True, sliding_window=64, max_window_layers=2),
        "gemma2": config("gemma2", sliding_window=128, head_dim=32), "layers": config("qwen3", layer_types=layers, sliding_window=9),
        "gemma3": json.dumps({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", **SHAPE, "sliding_window": 64}}).encode(),
        "mixtral": config("mixtral", num_local_experts=8, num_experts_per_tok=2), "qwen3-moe": config("qwen3_moe", **EXPERTS),
        "qwen2-moe": config("qwen2_moe", **EXPERTS, shared_expert_intermediate_size=64, decoder_sparse_step=2),
        "gpt-oss": config("gpt_oss", num_local_experts=4, num_experts_per_tok=4, sliding_window=128, layer_types=layers),
        "deepseek": config("deepseek_v3", **LATENT), "chunks": config("llama", layer_types=["chunked_attention"] * 4),
        "absurd": config("qwen3", hidden_size=2**28, intermediate_size=2**28, num_hidden_layers=512, vocab_size=2**28, head_dim=2**28),
        "many": config("deepseek_v2", **{**LATENT, "n_shared_experts": 2**28, "moe_intermediate_size": 2**28, "n_routed_experts": 2**28}),
        "negative": config("llama", hidden_size=-1), "fraction": config("llama", vocab_size=0.5), "twice": b'{"a":1,"a":2}',
        "unknown": config("m\u0007\u20ac"), "no-type": b"{}", "array": b"[]", "deep": b"[" * 3000, "not-utf8": b'{"a":"\xff\n"}',
        "cut": config("llama")[:-9], "nothing": b"", "large": config("llama", vocab_size=10**30),
    }


KEPT_CODECS = ("f32", "f16", "bf16", "q8", "q4", "q3")
KEPT_FACTORS = ("step", "layers", "weights_few", "weights_many", "vectors_few", "vectors_many", "attention_few", "attention_many", "store")


def catalog_seeds():
    shape = {"name": "A", "layers": 2, "d_model": 64, "n_heads": 4, "head_dim": 16, "v_head_dim": 16, "ffn_size": 128,
             "ffn_gated": True, "vocab": 100, "tie_embeddings": True, "params_total": 90000, "params_read_per_token": 90000,
             "params_embedding": 6400, "source": "a test"}
    full = {"layer_codes": "FF", "n_kv_heads_full": 2, "head_dim_full": 16}
    latent = {"layer_codes": "VV", "window": 32, "index_dim": 8, "index_layers": 1, "selected_entries": 4, "compress_ratios": [4, 128]}
    state = {"kind": "mamba2", "layers": 2, "d_inner": 128, "d_state": 16, "d_conv": 4, "heads": 8, "head_dim": 16, "groups": 1,
             "state_elems_per_layer": 2048, "conv_elems_per_layer": 480}
    experts = {"experts": 4, "experts_per_token": 2, "expert_ffn": 32, "expert_width": 64, "moe_layers": 2, "first_moe_layer": 0,
               "moe_layer_step": 1, "params_per_expert": 6144}
    device = {"id": "x", "name": "X", "kind": "gpu", "mem_bytes": 8e9, "mem_bw_Bps": 3e11, "mem_type": "GDDR6", "sources": ["a test"],
              "flops_dense": {"bf16": 1e14, "int8": 2e14}, "scaleup": {"name": "L", "Bps_unidir": 1e10, "domain": 8}, "tdp_w": 300,
              "price_usd": {"value": 999, "kind": "list", "date": "2026-01", "source": "a test"},
              "tiers": [{"name": "RAM", "bytes": 1e11, "bw_Bps": 1e10}],
              "cloud_usd_per_hour": [{"value": 1.5, "provider": "P", "date": "2026-01"}]}
    price = {"provider": "P", "model": "m", "date": "2026-01", "source": "a test", "usd_per_mtok": {"input": 1, "output": 4},
             "tiers": [{"above_input_tokens": 1000, "input": 2, "output": 8}]}
    kept = {"schema": "cabinet-calibration/1", "date": "2026-01-01", "name": "X", "mem_bytes": 8e9, "mem_bw_Bps": 3e10,
            "flops_dense": {"bf16": 1e12, "int8": 2e12}, "cabinet": {
                "version": "0", "kernels": "k", "threads": 2, "f32_flops": 1e11, "fork_seconds": 1e-6, "matmul_call_seconds": 1e-7,
                "attention_call_seconds": 1e-7, "vector_seconds_per_number": 1e-10, "reads": [{"threads": 1, "buffer_bytes": 64, "bytes_per_second": 1e10}],
                "matmul_rows": [1, 4, 16, 32, 128, 512], "attention_rows": [1, 4, 16, 48], "matmul_seconds_per_byte": {"Q4_1": [1e-10] * 6},
                "attention_seconds_per_number": {"f16": [1e-10] * 4}, "store_seconds_per_number": {k: 1e-9 for k in KEPT_CODECS}}}
    errors = {"n": 2, "median": 0.1, "p90": 0.2}
    checked = {"schema": "cabinet-verification/1", "version": "", "kernels": "", "threads": 0, "date": "d", "model_bytes": 77,
               "errors": {kind: errors for kind in ("memory", "step", "prefill", "ttft")},
               "factors": {"f16": {part: 1 for part in KEPT_FACTORS}}}

    def models(attention, **more):
        return b"m" + json.dumps({"models": [{**shape, "attention": attention, **more}]}).encode()

    def devices(**more):
        return b"h" + json.dumps({"devices": [{**device, **more}]}).encode()

    return {
        "full": models(full), "latent": models(latent), "window": models({**full, "layer_codes": "FS", "n_kv_heads_window": 1, "window": 9}),
        "mamba": models({"layer_codes": "22"}, state=state), "experts": models(full, moe=experts), "stated": models(full, kv_elems_per_token_growing=1),
        "more": models(full, moe={**experts, "experts_per_token": 5}), "no-parameters": models(full, params_total=1, params_read_per_token=1),
        "most": models(full, params_total=1e15, params_read_per_token=1e15, d_model=2**30, vocab=2**30), "unknown": models(full, other=1),
        "twice": b'm{"models":[{"name":"A","name":"B"}]}', "none": b'm{"models":[]}', "no-array": b"m{}", "line": b'm{"models":[\n\n{"name":"A"}]}',
        "device": b"d" + json.dumps({**device, "more": 1}).encode(), "hardware": devices(), "slow": devices(mem_bw_Bps=1, mem_bytes=1),
        "apu": devices(kind="apu", scaleup=None), "concept": devices(kind="concept", flops_dense=None), "no-memory": devices(mem_bytes=None),
        "price": b"p" + json.dumps({"prices": [price]}).encode(), "tiers": b"p" + json.dumps({"prices": [{**price, "tiers": price["tiers"] * 2}]}).encode(),
        "calibration": b"c" + json.dumps(kept).encode(), "other-schema": b'c{"schema":"x"}', "verification": b'v{"schema":"cabinet-verification/1","version":"\\u0007"}',
        "verified": b"v" + json.dumps(checked).encode(), "nothing": b"d", "not-utf8": b'd{"\xff":1}',
    }


def batch_seeds():
    def line(metric="decode_tok_s_per_user", model="Llama 3.1 8B", hardware="h100-sxm", **more):
        return json.dumps({"id": "v", "model": model, "hardware": hardware, "metric": metric, **more}).encode() + b"\n"

    loads = dict(batch=8, input_tokens=1000, output_tokens=100, context_tokens=1050)
    return {
        "decode": line(**loads), "server": line("itl_s", engine="vLLM 0.6.3", date="2024-10", category="serving", **loads),
        "rate": line("max_output_tok_s_per_device", "DeepSeek-R1", "GB200", n_devices=72), "bytes": line("kv_bytes", hardware=None, tp=64, **loads),
        "offload": line("output_tok_s_total", "OPT-175B", "T4", engine="FlexGen", **loads), "names": line(model="Meta-Llama-3.1-70B-Instruct-FP8", hardware="8x NVIDIA A100-SXM4-80GB"),
        "sized": line(model="Unheard-of 13B", hardware="some Xeon", engine="other", weight_format="UD-Q4_K_XL", kv_dtype="x"),
        "nobody": line(model="Unheard-of", hardware="abacus"), "metric": line("beauty"), "absurd": line(batch=1e9), "text": line(batch="x"),
        "most": line("prefill_tok_s", n_devices=1e6, tp=1e5, pp=1e5, ep=1e5, dp=1e5, batch=1e8, input_tokens=1e9, output_tokens=1e9),
        "tiny": line(batch=1, input_tokens=0, output_tokens=0, context_tokens=0), "fractions": line(tp=1.5, dp=2.5, n_devices=3.5),
        "lines": line() + b"\n \t\r\n{}\n[]\n{\n" + line(**loads) + b'{"a":1,"a":2}', "nul": b"\0\n{\0}", "not-utf8": b'{"model":"\xff"}',
        "cut-name": line(model="\u20ac" * 60, weight_format="\u20ac" * 60, engine="\u20ac" * 60), "deep": b"[" * 3000, "nothing": b"",
    }


def main():
    corpora = {"gguf": gguf_seeds, "config": config_seeds, "catalog": catalog_seeds, "batch": batch_seeds, "listing": listing_seeds, "split": split_seeds, "ask": ask_seeds, "http": http_seeds, "schema": schema_seeds}
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
    for target, seeds in corpora.items():
        os.makedirs(os.path.join(root, target), exist_ok=True)
        for name, data in seeds().items():
            with open(os.path.join(root, target, name), "wb") as file:
                file.write(data)


if __name__ == "__main__":
    main()
