"""Makes tests/golden/smollm2.logits: what llama.cpp (llama-cpp-python) computes for SmolLM2-135M-Instruct.

    python make_smollm2.py MODEL.gguf [--out FILE]     writes the file, then prints the rulers (below)
    python make_smollm2.py MODEL.gguf --exact --out FILE
    python make_smollm2.py MODEL.gguf --verify         writes nothing, compares with the file on disk

The text below gives the first 128 tokens. For each position the file holds the 512 most probable next tokens, their
log-probabilities, and the logarithm of the mass of all others (format: README.md). A test computes KL(golden || tested)
over these 512 + 1 buckets. Merging the tail into one bucket can only lower a KL divergence, so this is a lower bound; it
is tight, because the tail holds little mass (its mean is printed) and contributes no more than that mass times the mean
log-ratio within it. The printed "512 + rest" and "all tokens" columns show how tight.

Two rulers for an engine's KL are printed. The floor: llama.cpp does not agree with itself to the last bit, because its
arithmetic depends on the setting (flash attention, batch size), so the KL between two of its settings is a distance that
no other engine can be blamed for. (With flash attention an f32 cache is no other setting: it casts K and V to f16.)
The exact row: mlx-lm in float32 over the same weights, dequantised, so with no rounding of activations at all; it shows
how far the golden values themselves are from what the model file says. `--exact` writes these logits instead.

The golden file's setting is GOLDEN below: f16 cache, flash attention, one batch of 128, 2 threads.
"""

import argparse
import ctypes
import pathlib
import struct
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
N_TOKENS = 128
N_TOP = 512
MAGIC = b"CABLOGC1"

TEXT = """The lighthouse keeper wrote in his log every evening, even when nothing had happened. On Monday a grey seal slept \
on the rocks below the tower; on Tuesday the wind turned north and the supply boat could not land. He counted the tins \
that were left: 14 of beans, 9 of milk, and 3 of coffee. "Enough for two weeks," he told the cat, "if you learn to like \
beans." The cat did not answer. In 1923 such a delay was ordinary, and nobody on the mainland worried before the tenth \
day. That night he repaired the clockwork which turns the lamp, because a small brass gear had lost one of its teeth, \
and while he worked he listened to the sea. By morning the storm was over, and the boat came back with letters."""


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
    n = api.llama_tokenize(api.llama_model_get_vocab(model), raw, len(raw), tokens, 4096, False, False)
    api.llama_model_free(model)
    return np.array(tokens[:n], np.int32)[:n_most]


def llama_cpp_logits(path, tokens, kv="f16", flash=True, batch=None, threads=2, yarn_betas=None):
    """Logits at every position, (n_tokens, n_vocab) float32. `batch` tokens a call, None: all at once."""
    api = quiet_llama_cpp()
    model = open_model(path)
    n, step = len(tokens), batch or len(tokens)
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
    logits = np.empty((n, n_vocab), np.float32)
    one = api.llama_batch_init(step, 0, 1)
    for start in range(0, n, step):
        one.n_tokens = min(step, n - start)
        for i in range(one.n_tokens):
            one.token[i], one.pos[i], one.n_seq_id[i], one.logits[i] = int(tokens[start + i]), start + i, 1, 1
            one.seq_id[i][0] = 0
        if api.llama_decode(context, one) != 0:
            raise SystemExit("llama_decode failed")
        for i in range(one.n_tokens):
            logits[start + i] = np.ctypeslib.as_array(api.llama_get_logits_ith(context, i), (n_vocab,))
    api.llama_batch_free(one)
    api.llama_free(context)
    api.llama_model_free(model)
    return logits


# --- exact: mlx-lm over dequantised weights -------------------------------------------------------------------------------


def exact_logits(path, tokens):
    """float32 throughout: Hugging Face's names and row order are recovered from the GGUF file."""
    import gguf
    import mlx.core as mx
    from mlx_lm.models import llama

    mx.set_default_device(mx.cpu)
    reader = gguf.GGUFReader(path)
    read = lambda key: reader.get_field("llama." + key).contents()
    n_heads, n_kv_heads = read("attention.head_count"), read("attention.head_count_kv")
    names = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
             "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
             "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
             "token_embd": "embed_tokens", "output_norm": "norm"}
    weights = {}
    for tensor in reader.tensors:
        w = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        *layer, name, suffix = tensor.name.split(".")
        if name in ("attn_q", "attn_k"):  # rows 2i, 2i + 1 of a head back to i, i + d/2
            heads = n_heads if name == "attn_q" else n_kv_heads
            w = w.reshape(heads, -1, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)
        weights[".".join(["model", *(["layers", layer[1]] if layer else []), names[name], suffix])] = mx.array(w)
    model = llama.Model(llama.ModelArgs(
        model_type="llama", hidden_size=read("embedding_length"), num_hidden_layers=read("block_count"),
        intermediate_size=read("feed_forward_length"), num_attention_heads=n_heads, num_key_value_heads=n_kv_heads,
        rms_norm_eps=read("attention.layer_norm_rms_epsilon"), vocab_size=read("vocab_size"),
        rope_theta=read("rope.freq_base"), tie_word_embeddings=True))
    model.load_weights(list(weights.items()), strict=True)
    model.set_dtype(mx.float32)
    return np.array(model(mx.array(tokens)[None])[0])


# --- the compact file -----------------------------------------------------------------------------------------------------


def log_probabilities(logits):
    p = logits.astype(np.float64)
    p -= p.max(1, keepdims=True)
    return p - np.log(np.exp(p).sum(1, keepdims=True))


def compact(logits):
    """ids (n, 512) u16 by falling probability, their log-probabilities (n, 512) f32, log of the rest (n) f32."""
    p = log_probabilities(logits)
    order = np.argsort(-p, axis=1, kind="stable")
    top, rest = order[:, :N_TOP], order[:, N_TOP:]
    log_rest = np.log(np.exp(np.take_along_axis(p, rest, 1)).sum(1))
    return top.astype(np.uint16), np.take_along_axis(p, top, 1).astype(np.float32), log_rest.astype(np.float32)


def write_compact(path, tokens, n_vocab, ids, top, rest):
    assert n_vocab <= 65536
    path.write_bytes(MAGIC + struct.pack("<III", len(tokens), n_vocab, N_TOP) + tokens.astype("<i4").tobytes() +
                     rest.astype("<f4").tobytes() + top.astype("<f4").tobytes() + ids.astype("<u2").tobytes())


def read_compact(path):
    data = path.read_bytes()
    n, n_vocab, n_top = struct.unpack_from("<III", data, 8)
    assert data[:8] == MAGIC and len(data) == 20 + n * (8 + 6 * n_top)
    at = 20
    tokens = np.frombuffer(data, "<i4", n, at)
    rest = np.frombuffer(data, "<f4", n, at + 4 * n)
    top = np.frombuffer(data, "<f4", n * n_top, at + 8 * n).reshape(n, n_top)
    ids = np.frombuffer(data, "<u2", n * n_top, at + 8 * n + 4 * n * n_top).reshape(n, n_top)
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

GOLDEN = dict(kv="f16", flash=True, batch=None, threads=2)
OTHERS = {"the same again": {}, "1 thread": {"threads": 1}, "batch 1": {"batch": 1}, "batch 32": {"batch": 32},
          "flash attention off": {"flash": False},
          "f32 cache, flash attention off": {"kv": "f32", "flash": False}}


def print_rulers(model, tokens, golden_logits, golden):
    def row(name, other):
        full, part = kl_full(golden_logits, other), kl_compact(golden, other)
        same = (other.argmax(1) == golden_logits.argmax(1)).sum()
        print(f"{name:32} {full.mean():20.2e} {full.max():9.1e} {part.mean():11.2e} {same:6}/{len(tokens)}")

    print(f"mean mass outside the top {N_TOP}: {np.exp(golden[2].astype(np.float64)).mean():.4f}")
    print(f"{'golden against':32} {'KL mean, all tokens':>20} {'KL max':>9} {'512 + rest':>11} {'same top 1':>10}")
    for name, change in OTHERS.items():
        row(name, llama_cpp_logits(model, tokens, **{**GOLDEN, **change}))
    row("exact (mlx-lm, float32)", exact_logits(model, tokens))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "smollm2.logits")
    parser.add_argument("--exact", action="store_true", help="mlx-lm in float32 instead of llama.cpp")
    parser.add_argument("--verify", action="store_true")
    options = parser.parse_args()
    tokens = llama_cpp_tokens(options.model, TEXT, N_TOKENS)
    assert len(tokens) == N_TOKENS, "the text is too short"
    logits = (exact_logits(options.model, tokens) if options.exact else
              llama_cpp_logits(options.model, tokens, **GOLDEN))
    if options.verify:
        on_disk, n_vocab, *golden = read_compact(options.out)
        kl = kl_compact(golden, logits)
        same = (golden[0][:, 0] == logits.argmax(1)).sum()
        print(f"KL mean {kl.mean():.2e}, max {kl.max():.1e}; same top 1: {same}/{N_TOKENS}")
        sys.exit(int((on_disk != tokens).any() or n_vocab != logits.shape[1] or not kl.mean() < 1e-2))
    golden = compact(logits)
    write_compact(options.out, tokens, logits.shape[1], *golden)
    p = log_probabilities(logits)
    loss = -p[np.arange(N_TOKENS - 1), tokens[1:]].mean()
    print(f"{options.out}: {options.out.stat().st_size} bytes; mean loss of the text itself {loss:.3f} nats")
    if options.exact:
        return
    print_rulers(options.model, tokens, logits, golden)


if __name__ == "__main__":
    main()
