"""Makes the logits of trained models: what independent programs compute for a GGUF file and a text.

    python make_trained.py MODEL.gguf OUT.logits --by peer        llama.cpp (llama-cpp-python) as people run it
    python make_trained.py MODEL.gguf OUT.logits --by peer-f32    llama.cpp on the same weights, dequantised to f32
    python make_trained.py MODEL.gguf OUT.logits --by exact       mlx-lm in float32 on the same, dequantised
        [--top N]      how many tokens of each position the file holds (512)
        [--long]       2,000 tokens, of which the last 128 positions are kept
        [--rulers]     then prints how far the other ways are from this one (below)
        [--verify]     writes nothing, compares with the file on disk

The text below gives the first 128 tokens (with the model's BOS token, if its file says so); with --long, a text that a
seed writes gives 2,000, so that the last ones are far beyond a window of 512. For each position the file holds the N most probable next tokens, their log-probabilities, and the logarithm of the mass of all others (format:
README.md). A test computes KL(golden || tested) over these N + 1 buckets. Merging the tail into one bucket can only
lower a KL divergence, so this is a lower bound; it is tight, because the tail holds little mass (its mean is printed)
and contributes no more than that mass times the mean log-ratio within it. The printed "top + rest" and "all tokens"
columns show how tight.

Two rulers for an engine's KL are printed. The floor: llama.cpp does not agree with itself to the last bit, because its
arithmetic depends on the setting (flash attention, batch size), so the KL between two of its settings is a distance that
no other engine can be blamed for. (With flash attention an f32 cache is no other setting: it casts K and V to f16.)
The exact rows: two programs that compute in float32 on the dequantised weights, so with no rounding of activations at
all; they show how far llama.cpp's own values are from what the model file says.

The peer's setting is PEER below: f16 cache, flash attention, one batch of 128, 2 threads.
"""

import argparse
import ctypes
import pathlib
import random
import struct
import sys
import tempfile

import numpy as np

N_ROWS, N_LONG = 128, 2000
MAGIC = b"CABLOGC2"

TEXT = """The lighthouse keeper wrote in his log every evening, even when nothing had happened. On Monday a grey seal slept \
on the rocks below the tower; on Tuesday the wind turned north and the supply boat could not land. He counted the tins \
that were left: 14 of beans, 9 of milk, and 3 of coffee. "Enough for two weeks," he told the cat, "if you learn to like \
beans." The cat did not answer. In 1923 such a delay was ordinary, and nobody on the mainland worried before the tenth \
day. That night he repaired the clockwork which turns the lamp, because a small brass gear had lost one of its teeth, \
and while he worked he listened to the sea. By morning the storm was over, and the boat came back with letters."""


def long_text():
    """The log goes on: about 3,000 tokens of days that are alike, and differ in what must be remembered."""
    draw = random.Random(512)
    names, things = ["Ada", "Bruno", "Clara", "Dmitri", "Edda", "Farid"], ["lamp oil", "rope", "coffee", "candles", "flour"]
    weather = ["fog until noon", "a gale from the north", "clear and cold", "rain all day", "a calm sea", "hail in the evening"]
    lines, stock = [TEXT], {thing: draw.randrange(20, 90) for thing in things}
    for day in range(1, 61):
        thing, n = draw.choice(things), draw.randrange(1, 6)
        stock[thing] += n if draw.random() < 0.5 else -n
        lines.append(f"Day {day}. Weather: {draw.choice(weather)}. {draw.choice(names)} counted the {thing}: {stock[thing]} left. "
                     f"{draw.choice(names)} had the watch from {draw.randrange(1, 12)} to {draw.randrange(13, 24)} o'clock, and saw "
                     f"{draw.choice(['a seal', 'two ships', 'nothing', 'the mail boat', 'gulls', 'a whale'])}.")
    return "\n".join(lines)


# --- llama.cpp ------------------------------------------------------------------------------------------------------------


def quiet_llama_cpp():
    import llama_cpp.llama_cpp as api

    if not hasattr(quiet_llama_cpp, "keep"):
        quiet_llama_cpp.keep = api.llama_log_callback(lambda level, text, data: None)
        api.llama_log_set(quiet_llama_cpp.keep, ctypes.c_void_p(0))
        api.llama_backend_init()
    return api


def open_model(path):
    api = quiet_llama_cpp()
    model = api.llama_model_load_from_file(str(path).encode(), api.llama_model_default_params())
    if not model:
        raise SystemExit(f"llama.cpp cannot load {path}")
    return model


def llama_cpp_tokens(path, text, n_most):
    api = quiet_llama_cpp()
    model = open_model(path)
    tokens = (ctypes.c_int32 * 4096)()
    raw = text.encode()
    n = api.llama_tokenize(api.llama_model_get_vocab(model), raw, len(raw), tokens, 4096, True, False)
    api.llama_model_free(model)
    return np.array(tokens[:n], np.int32)[:n_most]


def llama_cpp_logits(path, tokens, n_rows=None, kv="f16", flash=True, batch=None, threads=2, yarn_betas=None):
    """Logits at the last n_rows positions (None: at all), (n_rows, n_vocab) float32. `batch` tokens a call, None: all at
    once."""
    api = quiet_llama_cpp()
    model = open_model(path)
    n, step = len(tokens), batch or len(tokens)
    first = n - (n_rows or n)
    params = api.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = max(256, n), n, n
    params.n_threads = params.n_threads_batch = threads
    params.type_k = params.type_v = {"f32": api.GGML_TYPE_F32, "f16": api.GGML_TYPE_F16}[kv]
    params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash else api.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if yarn_betas:
        params.yarn_beta_fast, params.yarn_beta_slow = yarn_betas
    context = api.llama_init_from_model(model, params)
    if not context:
        raise SystemExit("llama.cpp cannot open a context")
    n_vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))
    logits = np.empty((n - first, n_vocab), np.float32)
    one = api.llama_batch_init(step, 0, 1)
    for start in range(0, n, step):
        one.n_tokens = min(step, n - start)
        for i in range(one.n_tokens):
            one.token[i], one.pos[i], one.n_seq_id[i] = int(tokens[start + i]), start + i, 1
            one.logits[i] = start + i >= first
            one.seq_id[i][0] = 0
        if api.llama_decode(context, one) != 0:
            raise SystemExit("llama_decode failed")
        for i in range(max(0, first - start), one.n_tokens):
            logits[start + i - first] = np.ctypeslib.as_array(api.llama_get_logits_ith(context, i), (n_vocab,))
    api.llama_batch_free(one)
    api.llama_free(context)
    api.llama_model_free(model)
    return logits


# --- dequantised weights --------------------------------------------------------------------------------------------------


def write_as_f32(path, copy):
    """The same GGUF file, every tensor dequantised."""
    import gguf

    reader = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(copy, reader.get_field("general.architecture").contents())
    for field in reader.fields.values():
        if field.name == "general.file_type":
            writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        elif field.name != "general.architecture" and not field.name.startswith("GGUF."):
            items = field.types[1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], items)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, dequantized(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def dequantized(tensor):
    import gguf

    return gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)


def peer_f32_logits(path, tokens, n_rows):
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "f32.gguf"
        write_as_f32(path, copy)
        return llama_cpp_logits(copy, tokens, n_rows, kv="f32", flash=False)


# --- exact: mlx-lm ---------------------------------------------------------------------------------------------------------

NAMES = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
         "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
         "token_embd": "embed_tokens", "output_norm": "norm"}
GEMMA_NAMES = {**NAMES, "ffn_norm": "pre_feedforward_layernorm", "post_attention_norm": "post_attention_layernorm",
               "post_ffw_norm": "post_feedforward_layernorm", "attn_q_norm": "self_attn.q_norm",
               "attn_k_norm": "self_attn.k_norm"}


def hugging_face_weights(reader, names, convert):
    """Hugging Face's names and row order, recovered from the GGUF file."""
    import mlx.core as mx

    weights = {}
    for tensor in reader.tensors:
        *layer, name, suffix = tensor.name.split(".")
        w = convert(name, dequantized(tensor))
        weights[".".join(["model", *(["layers", layer[1]] if layer else []), names[name], suffix])] = mx.array(w)
    return weights


def shape_of(reader):
    """The keys that both architectures have, under mlx-lm's names."""
    arch = reader.get_field("general.architecture").contents()
    names = {"hidden_size": "embedding_length", "num_hidden_layers": "block_count",
             "intermediate_size": "feed_forward_length", "num_attention_heads": "attention.head_count",
             "num_key_value_heads": "attention.head_count_kv", "rms_norm_eps": "attention.layer_norm_rms_epsilon",
             "rope_theta": "rope.freq_base"}
    shape = {name: reader.get_field(f"{arch}.{key}").contents() for name, key in names.items()}
    shape["vocab_size"] = len(reader.get_field("tokenizer.ggml.tokens").contents())
    return {"model_type": arch, **shape}


def llama_model(reader):
    from mlx_lm.models import llama

    shape = shape_of(reader)

    def convert(name, w):  # rows 2i, 2i + 1 of a head back to i, i + d/2
        if name not in ("attn_q", "attn_k"):
            return w
        heads = shape["num_attention_heads" if name == "attn_q" else "num_key_value_heads"]
        return w.reshape(heads, -1, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)

    model = llama.Model(llama.ModelArgs(**shape, tie_word_embeddings=True))
    model.load_weights(list(hugging_face_weights(reader, NAMES, convert).items()), strict=True)
    return model, {}


def gemma3_model(reader):
    """mlx-lm rounds the factor sqrt(hidden_size) of the embeddings to bf16, as the model was trained; llama.cpp does
    not, and nor do these logits: the embeddings passed in bring the difference."""
    import mlx.core as mx
    from mlx_lm.models import gemma3_text

    shape, read = shape_of(reader), lambda key: reader.get_field("gemma3." + key).contents()
    model = gemma3_text.Model(gemma3_text.ModelArgs(
        **shape, head_dim=read("attention.key_length"), query_pre_attn_scalar=read("attention.key_length"),
        sliding_window=read("attention.sliding_window")))
    weights = hugging_face_weights(reader, GEMMA_NAMES, lambda name, w: w - 1 if name.endswith("norm") else w)
    model.load_weights(list(model.sanitize(weights).items()), strict=True)
    factor = shape["hidden_size"] ** 0.5
    correction = factor / mx.array(factor, mx.bfloat16).astype(mx.float32).item()
    return model, {"input_embeddings": lambda ids: model.model.embed_tokens(ids) * correction}


def exact_logits(path, tokens, n_rows):
    """float32 throughout."""
    import gguf
    import mlx.core as mx

    mx.set_default_device(mx.cpu)
    reader = gguf.GGUFReader(path)
    makers = {"llama": llama_model, "gemma3": gemma3_model}
    model, inputs = makers[reader.get_field("general.architecture").contents()](reader)
    model.set_dtype(mx.float32)
    ids = mx.array(tokens)[None]
    hidden = model.model(ids, **{name: make(ids) for name, make in inputs.items()})[:, -n_rows:]
    return np.array(model.model.embed_tokens.as_linear(hidden)[0])  # both are tied


# --- the compact file -----------------------------------------------------------------------------------------------------


def log_probabilities(logits):
    p = logits.astype(np.float64)
    p -= p.max(1, keepdims=True)
    return p - np.log(np.exp(p).sum(1, keepdims=True))


def compact(logits, n_top):
    """ids (n, n_top) by falling probability, their log-probabilities (n, n_top) f32, log of the rest (n) f32."""
    p = log_probabilities(logits)
    order = np.argsort(-p, axis=1, kind="stable")
    top, rest = order[:, :n_top], order[:, n_top:]
    log_rest = np.log(np.exp(np.take_along_axis(p, rest, 1)).sum(1))
    return top, np.take_along_axis(p, top, 1).astype(np.float32), log_rest.astype(np.float32)


def id_type(n_vocab):
    return np.dtype("<u2" if n_vocab <= 65536 else "<u4")


def write_compact(path, tokens, n_vocab, ids, top, rest):
    path.write_bytes(MAGIC + struct.pack("<IIII", len(tokens), n_vocab, ids.shape[1], len(ids)) + tokens.astype("<i4").tobytes() +
                     rest.astype("<f4").tobytes() + top.astype("<f4").tobytes() + ids.astype(id_type(n_vocab)).tobytes())


def read_compact(path):
    data = path.read_bytes()
    n_tokens, n_vocab, n_top, n = struct.unpack_from("<IIII", data, 8)
    at = 24 + 4 * n_tokens
    assert data[:8] == MAGIC and len(data) == at + n * (4 + (4 + id_type(n_vocab).itemsize) * n_top)
    tokens = np.frombuffer(data, "<i4", n_tokens, 24)
    rest = np.frombuffer(data, "<f4", n, at)
    top = np.frombuffer(data, "<f4", n * n_top, at + 4 * n).reshape(n, n_top)
    ids = np.frombuffer(data, id_type(n_vocab), n * n_top, at + 4 * n + 4 * n * n_top).reshape(n, n_top)
    return tokens, n_vocab, ids, top, rest


def kl_compact(golden, logits):
    """KL(golden || logits) a position, over the golden file's top tokens and one bucket for the rest."""
    ids, top, rest = golden
    q = log_probabilities(logits)
    q_top = np.take_along_axis(q, ids.astype(np.int64), 1)
    np.put_along_axis(q, ids.astype(np.int64), -np.inf, 1)
    q_rest = np.log(np.exp(q).sum(1))
    top, rest = top.astype(np.float64), rest.astype(np.float64)
    return (np.exp(top) * (top - q_top)).sum(1) + np.exp(rest) * (rest - q_rest)


def kl_full(golden_logits, logits):
    p, q = log_probabilities(golden_logits), log_probabilities(logits)
    return (np.exp(p) * (p - q)).sum(1)


# --- main -----------------------------------------------------------------------------------------------------------------

PEER = dict(kv="f16", flash=True, batch=None, threads=2)
OTHERS = {"llama.cpp": {}, "1 thread": {"threads": 1}, "batch 1": {"batch": 1}, "batch 32": {"batch": 32},
          "flash attention off": {"flash": False},
          "f32 cache, flash attention off": {"kv": "f32", "flash": False}}
WAYS = {"peer": lambda path, tokens, n_rows: llama_cpp_logits(path, tokens, n_rows, **PEER), "peer-f32": peer_f32_logits,
        "exact": exact_logits}


def print_rulers(model, tokens, golden_logits, golden):
    def row(name, other):
        full, part = kl_full(golden_logits, other), kl_compact(golden, other)
        best = other.argmax(1)
        lost = golden_logits.max(1) - np.take_along_axis(golden_logits, best[:, None], 1)[:, 0]
        print(f"{name:32} {full.mean():20.2e} {full.max():9.1e} {part.mean():11.2e} {(lost == 0).sum():6}/{N_ROWS} "
              f"{lost.max():9.2f}", flush=True)

    print(f"mean mass outside the top {golden[0].shape[1]}: {np.exp(golden[2].astype(np.float64)).mean():.4f}")
    print(f"{'golden against':32} {'KL mean, all tokens':>20} {'KL max':>9} {'top + rest':>11} {'same top 1':>10} {'lost lead':>9}")
    for name, change in OTHERS.items():
        row(name, llama_cpp_logits(model, tokens, N_ROWS, **{**PEER, **change}))
    row("llama.cpp, dequantised to f32", peer_f32_logits(model, tokens, N_ROWS))
    row("exact (mlx-lm, float32)", exact_logits(model, tokens, N_ROWS))


def verify(path, tokens, logits):
    on_disk, n_vocab, *golden = read_compact(path)
    kl = kl_compact(golden, logits)
    same = (golden[0][:, 0] == logits.argmax(1)).sum()
    print(f"KL mean {kl.mean():.2e}, max {kl.max():.1e}; same top 1: {same}/{N_ROWS}")
    return (on_disk == tokens).all() and n_vocab == logits.shape[1] and kl.mean() < 1e-2


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--by", choices=WAYS, required=True)
    parser.add_argument("--top", type=int, default=512)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--rulers", action="store_true")
    parser.add_argument("--verify", action="store_true")
    options = parser.parse_args()
    text, n_tokens = (long_text(), N_LONG) if options.long else (TEXT, N_ROWS)
    tokens = llama_cpp_tokens(options.model, text, n_tokens)
    assert len(tokens) == n_tokens, "the text is too short"
    logits = WAYS[options.by](options.model, tokens, N_ROWS)
    if options.verify:
        sys.exit(0 if verify(options.out, tokens, logits) else "disagreement: see above")
    golden = compact(logits, options.top)
    write_compact(options.out, tokens, logits.shape[1], *golden)
    loss = -log_probabilities(logits[:-1])[np.arange(N_ROWS - 1), tokens[-N_ROWS + 1:]].mean()
    print(f"{options.out}: {options.out.stat().st_size} bytes; mean loss of the text itself {loss:.3f} nats")
    if options.rulers:
        print_rulers(options.model, tokens, logits, golden)


if __name__ == "__main__":
    main()
