"""Makes the tiny models of tests/golden/tiny/ and their logits.

For each variant below: random weights of a Hugging Face style model from a fixed seed, the logits that mlx-lm computes
from them in float32 over 128 tokens (<variant>.logits), and the same weights as a GGUF file with the metadata, tensor
names and row order that llama.cpp's converter writes for that architecture (<variant>.gguf). Everything is generated:
no file contains anything of a trained model.

    python make_tiny_models.py [--only NAME ...]     write tiny/*.gguf and tiny/*.logits
    python make_tiny_models.py --verify              write nothing; check the files on disk:
        the logits against mlx again; against llama.cpp (llama-cpp-python) reading the GGUF, which proves metadata
        and row order right; and that each variant bites: with one feature taken away the logits move by nats.

Weights of type f16 are rounded before mlx runs, so both files describe the same numbers. See README.md for formats.
"""

import argparse
import importlib
import math
import pathlib
import struct
import sys
import tempfile
import zlib

import gguf
import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
N_TOKENS = 128
N_VOCAB = 288

# Every variant: what differs from DEFAULTS. `dtype` is the GGUF type of the matrices (vectors are always f32).
# head_dim None means hidden_size / heads, and the config then has no head_dim, so the GGUF no key_length.
DEFAULTS = dict(
    arch="llama", dtype="f16", hidden_size=64, num_hidden_layers=2, intermediate_size=128, num_attention_heads=4,
    num_key_value_heads=2, head_dim=None, rms_norm_eps=1e-5, rope_theta=10000.0, rope_scaling=None,
    tie_word_embeddings=True, attention_bias=False, max_position_embeddings=512, add_bos=False)
VARIANTS = {
    # multi-head attention, tied, f32
    "llama_tied": dict(dtype="f32", num_key_value_heads=4, intermediate_size=112),
    # own output.weight, GQA, head_dim 32 with heads * head_dim != hidden
    "llama_untied": dict(tie_word_embeddings=False, head_dim=32, num_hidden_layers=3, intermediate_size=96),
    "llama_linear_rope": dict(rope_scaling={"rope_type": "linear", "factor": 4.0}),
    # of the 16 pairs of a head some stay, some are blended, some are divided by 8; 128 tokens are twice the 64
    "llama3_rope": dict(
        num_attention_heads=2, num_key_value_heads=1,
        rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                      "original_max_position_embeddings": 64}),
    # every bias that attention_bias brings: q, k, v and output
    "llama_bias": dict(attention_bias=True, num_key_value_heads=1),
    "llama_yarn": dict(
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=256,
        rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}),
    # llama.cpp's converter writes yarn_beta_*, but its loader ignores them for this arch: --verify passes them by hand
    "llama_yarn_beta": dict(
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=1024,
        rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256, "beta_fast": 8.0,
                      "beta_slow": 2.0}),
    # as Mistral 7B v0.3 converts: arch llama, head_dim given, untied, large theta, no window; three heads a KV head
    "llama_mistral": dict(
        hidden_size=96, num_attention_heads=6, num_key_value_heads=2, head_dim=16, tie_word_embeddings=False,
        rope_theta=1e6, add_bos=True),
    "qwen2": dict(arch="qwen2", rope_theta=1e6, rms_norm_eps=1e-6),
    # head_dim 48
    "qwen2_untied": dict(
        arch="qwen2", hidden_size=96, num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=False,
        rope_theta=1e6, rms_norm_eps=1e-6),
    # head_dim 24, heads * head_dim = 96 != hidden 64, f32
    "qwen3": dict(arch="qwen3", dtype="f32", head_dim=24, intermediate_size=96, rope_theta=1e6, rms_norm_eps=1e-6),
    "qwen3_untied": dict(
        arch="qwen3", head_dim=32, num_attention_heads=3, num_key_value_heads=1, tie_word_embeddings=False,
        rope_theta=1e6, rms_norm_eps=1e-6),
}

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def variant_of(name):
    v = {**DEFAULTS, **VARIANTS[name], "name": name}
    v["d"] = v["head_dim"] or v["hidden_size"] // v["num_attention_heads"]
    v["seed"] = zlib.crc32(name.encode())  # so that a new variant leaves the others as they are
    return v


def config_of(v):
    keys = ("hidden_size num_hidden_layers intermediate_size num_attention_heads num_key_value_heads rms_norm_eps "
            "rope_theta rope_scaling tie_word_embeddings attention_bias max_position_embeddings").split()
    config = {"model_type": v["arch"], "vocab_size": N_VOCAB, **{k: v[k] for k in keys}}
    if v["head_dim"]:
        config["head_dim"] = v["head_dim"]
    return config


# --- weights -----------------------------------------------------------------------------------------------------------


def make_weights(v):
    """Hugging Face names and row order -> float32 arrays, already rounded to what the GGUF file can hold."""
    rng = np.random.RandomState(v["seed"])  # the legacy generator: its stream is frozen across numpy versions
    hidden, d, ffn = v["hidden_size"], v["d"], v["intermediate_size"]
    n_q, n_kv = v["num_attention_heads"] * d, v["num_key_value_heads"] * d
    weights = {}

    def matrix(name, rows, columns, gain):
        w = (rng.standard_normal((rows, columns)) * gain / math.sqrt(columns)).astype(np.float32)
        weights[name] = w.astype(np.float16).astype(np.float32) if v["dtype"] == "f16" else w

    def vector(name, n, low=0.5, high=1.5):
        weights[name] = rng.uniform(low, high, n).astype(np.float32)

    matrix("model.embed_tokens.weight", N_VOCAB, hidden, 2.5)
    for layer in range(v["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        vector(at + "input_layernorm.weight", hidden)
        matrix(at + "self_attn.q_proj.weight", n_q, hidden, 1.3)  # scores of a few nats: attention is not an average
        matrix(at + "self_attn.k_proj.weight", n_kv, hidden, 1.3)
        matrix(at + "self_attn.v_proj.weight", n_kv, hidden, 1.0)
        matrix(at + "self_attn.o_proj.weight", hidden, n_q, 1.0)
        if v["arch"] == "qwen2" or v["attention_bias"]:
            for p, n in ("q", n_q), ("k", n_kv), ("v", n_kv):
                vector(at + f"self_attn.{p}_proj.bias", n, -1.0, 1.0)
        if v["attention_bias"]:
            vector(at + "self_attn.o_proj.bias", hidden, -0.5, 0.5)
        if v["arch"] == "qwen3":
            vector(at + "self_attn.q_norm.weight", d, 0.5, 2.0)
            vector(at + "self_attn.k_norm.weight", d, 0.5, 2.0)
        vector(at + "post_attention_layernorm.weight", hidden)
        matrix(at + "mlp.gate_proj.weight", ffn, hidden, 1.3)
        matrix(at + "mlp.up_proj.weight", ffn, hidden, 1.0)
        matrix(at + "mlp.down_proj.weight", hidden, ffn, 1.5)
    vector("model.norm.weight", hidden)
    if not v["tie_word_embeddings"]:
        matrix("lm_head.weight", N_VOCAB, hidden, 2.5)
    return weights


def make_tokens(v):
    return np.random.RandomState(v["seed"] ^ 1).randint(0, N_VOCAB, N_TOKENS).astype(np.int32)


# --- logits: mlx-lm ------------------------------------------------------------------------------------------------------


def mlx_logits(v, weights, tokens):
    """(n_tokens, n_vocab) float32, all positions in one causal pass without a cache."""
    import mlx.core as mx

    mx.set_default_device(mx.cpu)
    module = importlib.import_module("mlx_lm.models." + v["arch"])
    model = module.Model(module.ModelArgs.from_dict(config_of(v)))
    model.load_weights([(name, mx.array(w)) for name, w in weights.items()], strict=True)
    model.set_dtype(mx.float32)
    logits = model(mx.array(tokens)[None])[0]
    assert logits.dtype == mx.float32 and logits.shape == (len(tokens), N_VOCAB)
    return np.array(logits)


# --- the GGUF file -------------------------------------------------------------------------------------------------------


def interleave_rope_rows(w, n_heads):
    """Hugging Face pairs row i of a head with row i + d/2; arch llama in GGUF pairs rows 2i and 2i + 1."""
    d = w.shape[0] // n_heads
    order = np.arange(w.shape[0]).reshape(n_heads, 2, d // 2).transpose(0, 2, 1).reshape(-1)
    return w[order]


def llama3_divisors(v):
    """rope_freqs.weight: what each pair's frequency is divided by, (d / 2). 1 for short waves, factor for long ones."""
    scaling = v["rope_scaling"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    frequency = v["rope_theta"] ** -(np.arange(0, v["d"], 2, dtype=np.float64) / v["d"])
    turns = scaling["original_max_position_embeddings"] * frequency / (2 * math.pi)  # within the original context
    blend = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return (1 / ((1 - blend) / scaling["factor"] + blend)).astype(np.float32)


def byte_level_vocabulary():
    """tokens, types, merges: 256 bytes in GPT-2's printable disguise, 28 merges, 4 control tokens."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in plain]
    text = {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(hidden)}
    merges = ("Ġ t|h e|i n|r e|o n|e r|Ġ a|Ġt he|a n|o r|e n|Ġ s|a t|Ġ o|e s|Ġ w|i s|i t|Ġa n|Ġ c|n d|o u|in g|Ġ b|Ġan d|"
              "l l|Ġo f|e d").split("|")
    tokens = [text[b] for b in range(256)] + [m.replace(" ", "") for m in merges]
    controls = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    types = [gguf.TokenType.NORMAL] * len(tokens) + [gguf.TokenType.CONTROL] * len(controls)
    tokens += controls
    known = set(tokens)
    assert len(tokens) == len(known) == N_VOCAB
    assert all(part in known for m in merges for part in m.split(" ")) and all(m.count(" ") == 1 for m in merges)
    return tokens, types, merges


GGUF_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def gguf_name(name):
    top = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
           "lm_head.weight": "output.weight"}
    if name in top:
        return top[name]
    layer, middle, suffix = name.removeprefix("model.layers.").split(".", 1)[0], *name.split(".", 3)[3].rsplit(".", 1)
    return f"blk.{layer}.{GGUF_NAMES[middle]}.{suffix}"


def write_gguf(v, weights, path):
    w = gguf.GGUFWriter(path, v["arch"])
    w.add_type("model")
    w.add_name("tiny " + v["name"])
    w.add_block_count(v["num_hidden_layers"])
    w.add_context_length(v["max_position_embeddings"])
    w.add_embedding_length(v["hidden_size"])
    w.add_feed_forward_length(v["intermediate_size"])
    w.add_head_count(v["num_attention_heads"])
    w.add_head_count_kv(v["num_key_value_heads"])
    scaling = v["rope_scaling"] or {}
    if scaling.get("rope_type") in ("linear", "yarn"):  # llama3 has no key: it is the tensor rope_freqs.weight
        w.add_rope_scaling_type(gguf.RopeScalingType(scaling["rope_type"]))
        w.add_rope_scaling_factor(scaling["factor"])
    if scaling.get("rope_type") == "yarn":
        w.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
        if "beta_fast" in scaling:
            w.add_rope_scaling_yarn_beta_fast(scaling["beta_fast"])
            w.add_rope_scaling_yarn_beta_slow(scaling["beta_slow"])
    w.add_rope_freq_base(v["rope_theta"])
    w.add_layer_norm_rms_eps(v["rms_norm_eps"])
    if v["head_dim"]:
        w.add_key_length(v["head_dim"])
        w.add_value_length(v["head_dim"])
    w.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if v["dtype"] == "f16" else gguf.LlamaFileType.ALL_F32)
    if v["arch"] == "llama":
        w.add_vocab_size(N_VOCAB)
        w.add_rope_dimension_count(v["d"])
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)

    tokens, types, merges = byte_level_vocabulary()
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_merges(merges)
    w.add_bos_token_id(tokens.index("<|endoftext|>"))
    w.add_eos_token_id(tokens.index("<|im_end|>"))
    w.add_pad_token_id(tokens.index("<|pad|>"))
    w.add_add_bos_token(v["add_bos"])
    w.add_chat_template(CHAT_TEMPLATE)

    if scaling.get("rope_type") == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_divisors(v))
    for name, data in weights.items():
        if v["arch"] == "llama" and ".q_proj." in name:
            data = interleave_rope_rows(data, v["num_attention_heads"])
        if v["arch"] == "llama" and ".k_proj." in name:
            data = interleave_rope_rows(data, v["num_key_value_heads"])
        is_f16 = v["dtype"] == "f16" and data.ndim == 2
        w.add_tensor(gguf_name(name), np.ascontiguousarray(data.astype(np.float16) if is_f16 else data))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


# --- the logits file -----------------------------------------------------------------------------------------------------

MAGIC = b"CABLOGF1"


def write_logits(path, tokens, logits):
    header = MAGIC + struct.pack("<II", *logits.shape)
    path.write_bytes(header + tokens.astype("<i4").tobytes() + np.ascontiguousarray(logits, "<f4").tobytes())


def read_logits(path):
    data = path.read_bytes()
    n_tokens, n_vocab = struct.unpack_from("<II", data, 8)
    assert data[:8] == MAGIC and len(data) == 16 + 4 * n_tokens * (1 + n_vocab)
    tokens = np.frombuffer(data, "<i4", n_tokens, 16)
    return tokens, np.frombuffer(data, "<f4", offset=16 + 4 * n_tokens).reshape(n_tokens, n_vocab)


# --- checks --------------------------------------------------------------------------------------------------------------


def mutants(v, weights):
    """What a forward pass that forgets a feature would compute: name -> (variant, weights)."""
    found = {}
    if v["rope_scaling"]:
        found["no rope scaling"] = {**v, "rope_scaling": None}, weights
        if v["rope_scaling"]["rope_type"] == "yarn":
            found["no yarn magnitude"] = {**v, "rope_scaling": {**v["rope_scaling"], "mscale": 0.0}}, weights
            found["linear for yarn"] = {**v, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}, weights
        if "beta_fast" in v["rope_scaling"]:
            defaults = {k: x for k, x in v["rope_scaling"].items() if "beta" not in k}
            found["default yarn betas"] = {**v, "rope_scaling": defaults}, weights
    for part in "q", "k", "v", "o":
        if any(f".{part}_proj.bias" in name for name in weights):
            found[f"no {part} bias"] = v, {n: 0 * w if f".{part}_proj.bias" in n else w for n, w in weights.items()}
    if v["arch"] == "qwen3":
        found["no q/k norm weights"] = v, {n: 0 * w + 1 if n.endswith(("q_norm.weight", "k_norm.weight")) else w
                                           for n, w in weights.items()}
    heads = {".q_proj.": v["num_attention_heads"], ".k_proj.": v["num_key_value_heads"], "q_norm": 1, "k_norm": 1}
    swapped = {n: next((interleave_rope_rows(w, h) for part, h in heads.items() if part in n), w)
               for n, w in weights.items()}
    found["other rope pairing"] = v, swapped
    return found


def statistics(logits):
    p = logits.astype(np.float64)
    p = p - p.max(1, keepdims=True)
    p -= np.log(np.exp(p).sum(1, keepdims=True))
    return f"std {logits.std():.2f}, entropy {-(np.exp(p) * p).sum(1).mean():.2f} nats"


def verify(name):
    v = variant_of(name)
    tokens, golden = read_logits(HERE / "tiny" / f"{name}.logits")
    weights = make_weights(v)
    assert (tokens == make_tokens(v)).all()
    again = np.abs(mlx_logits(v, weights, tokens) - golden).max()
    print(f"{name}: {statistics(golden)}; mlx again: max |diff| {again:.1e}")
    bad = again > 1e-3
    for what, (other, changed) in mutants(v, weights).items():
        moved = np.abs(mlx_logits(other, changed, tokens) - golden)
        print(f"    {what}: max |diff| {moved.max():.2f}, mean {moved.mean():.3f}")
        bad |= moved.max() < 0.5
    from make_smollm2 import llama_cpp_logits

    def compare(what, bound, path, **settings):
        peer = llama_cpp_logits(path, tokens, **settings, yarn_betas=betas)
        moved = np.abs(peer - golden)
        same = (peer.argmax(1) == golden.argmax(1)).sum()
        print(f"    llama.cpp, {what}: max |diff| {moved.max():.1e}, mean {moved.mean():.1e}, "
              f"same top 1: {same}/{len(tokens)}")
        return not moved.max() < bound

    scaling = v["rope_scaling"] or {}
    betas = (scaling["beta_fast"], scaling["beta_slow"]) if "beta_fast" in scaling else None
    path = HERE / "tiny" / f"{name}.gguf"
    with tempfile.TemporaryDirectory() as temporary:  # f16 weights cost llama.cpp accuracy: also try them as f32
        f32_path = pathlib.Path(temporary) / "f32.gguf"
        write_gguf({**v, "dtype": "f32"}, weights, f32_path)
        bad |= compare("same weights as f32, f32 cache, flash off", 2e-4, f32_path, kv="f32", flash=False)
    bad |= compare("the file, f32 cache, flash off", 5e-2, path, kv="f32", flash=False)
    bad |= compare("the file, f16 cache, flash on", 5e-2, path, kv="f16", flash=True)
    return bad


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--verify", action="store_true")
    options = parser.parse_args()
    if options.verify:
        sys.exit("disagreement: see above" if any([verify(name) for name in options.only]) else 0)
    (HERE / "tiny").mkdir(exist_ok=True)
    for name in options.only:
        v = variant_of(name)
        weights, tokens = make_weights(v), make_tokens(v)
        logits = mlx_logits(v, weights, tokens)
        path = HERE / "tiny" / f"{name}.gguf"
        write_gguf(v, weights, path)
        write_logits(path.with_suffix(".logits"), tokens, logits)
        print(f"{name}: {path.stat().st_size} bytes, {statistics(logits)}")


if __name__ == "__main__":
    main()
