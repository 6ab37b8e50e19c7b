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
import functools
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

# Every variant: what differs from DEFAULTS. `dtype` is the GGUF type of the matrices (vectors are always f32), `arch`
# GGUF's word for the architecture, `module` mlx-lm's where it is another.
# head_dim None means hidden_size / heads, and the config then has no head_dim, so the GGUF no key_length.
# sliding_window: a layer sees that many tokens, its own among them; window_pattern n: every n-th layer sees all.
# `peer`: what llama.cpp takes for granted in spite of the file, so what to compare it with.
DEFAULTS = dict(
    arch="llama", module=None, dtype="f16", hidden_size=64, num_hidden_layers=2, intermediate_size=128, num_attention_heads=4,
    num_key_value_heads=2, head_dim=None, rms_norm_eps=1e-5, rope_theta=10000.0, rope_scaling=None,
    tie_word_embeddings=True, attention_bias=False, max_position_embeddings=512, add_bos=False, mlp_bias=False,
    sliding_window=None, window_pattern=None, partial_rotary_factor=1.0, peer={})
GEMMA3 = dict(
    arch="gemma3", module="gemma3_text", num_hidden_layers=7, intermediate_size=64, num_attention_heads=3,
    num_key_value_heads=1, head_dim=16, rms_norm_eps=1e-6, rope_theta=1e6, rope_local_base_freq=10000.0,
    query_pre_attn_scalar=16, sliding_window=16, window_pattern=6)
# Factors of one pair each; the short ones are those of contexts up to original_max_position_embeddings.
LONGROPE = {"type": "longrope", "rope_type": "longrope",
            "long_factor": [1.0, 1.1, 1.5, 2.0, 3.0, 4.5, 6.0, 8.0],
            "short_factor": [1.0, 1.0, 1.05, 1.1, 1.2, 1.4, 1.7, 2.0]}
VARIANTS = {
    # multi-head attention, tied, f32
    "llama_tied": dict(dtype="f32", num_key_value_heads=4, intermediate_size=112),
    # own output.weight, GQA, head_dim 32 with heads * head_dim != hidden
    "llama_untied": dict(tie_word_embeddings=False, head_dim=32, num_hidden_layers=3, intermediate_size=96),
    # bf16, whose products round activations; no row is whole groups of 32
    "llama_bf16": dict(
        dtype="bf16", tie_word_embeddings=False, hidden_size=72, num_attention_heads=3, num_key_value_heads=1,
        intermediate_size=100),
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
    # as Mistral 7B v0.1: every layer a window. llama.cpp knows no window for this arch
    "llama_window": dict(
        tie_word_embeddings=False, num_hidden_layers=3, intermediate_size=96, sliding_window=16,
        peer=dict(sliding_window=None)),
    # even layers are windows; heads * head_dim = 96; both caps bite
    "gemma2": dict(
        arch="gemma2", num_hidden_layers=4, intermediate_size=96, head_dim=24, query_pre_attn_scalar=24,
        rms_norm_eps=1e-6, attn_logit_softcapping=5.0, final_logit_softcapping=10.0, sliding_window=16,
        window_pattern=2),
    # no rope.freq_base_swa, as older conversions: 10000
    "gemma3": GEMMA3,
    # as 4B and larger: the layers that see all have linear scaling; and rope.freq_base_swa says another base
    "gemma3_linear_rope": dict(
        **{**GEMMA3, "rope_local_base_freq": 20000.0}, rope_scaling={"rope_type": "linear", "factor": 8.0}),
    "phi3": dict(arch="phi3", tie_word_embeddings=False),
    # of the 16 numbers of a head 12 turn
    "phi3_partial_rope": dict(arch="phi3", tie_word_embeddings=False, partial_rotary_factor=0.75),
    # 128 tokens are more than the original 64: long factors
    "phi3_longrope": dict(
        arch="phi3", tie_word_embeddings=False, rope_scaling=LONGROPE, original_max_position_embeddings=64),
    # as Phi-4-mini: tied, partial; 128 tokens are less than the original 256: short factors
    "phi3_shortrope": dict(
        arch="phi3", partial_rotary_factor=0.75, original_max_position_embeddings=256,
        rope_scaling={**LONGROPE, **{k: LONGROPE[k][:6] for k in ("long_factor", "short_factor")}}),
    "olmo2": dict(arch="olmo2", tie_word_embeddings=False, rms_norm_eps=1e-6, rope_theta=5e5),
    # OLMo 3, which converts to arch olmo2: three windows, then a layer that sees all
    "olmo3": dict(
        arch="olmo2", module="olmo3", tie_word_embeddings=False, num_hidden_layers=4, intermediate_size=64,
        rms_norm_eps=1e-6, rope_theta=5e5, sliding_window=16, window_pattern=4),
    # as OLMo 3 is published: yarn on the layers that see all, none on the windows
    "olmo3_yarn": dict(
        arch="olmo2", module="olmo3", tie_word_embeddings=False, num_hidden_layers=4, intermediate_size=64,
        num_attention_heads=2, num_key_value_heads=1, rms_norm_eps=1e-6, rope_theta=5e5, sliding_window=16,
        window_pattern=4, max_position_embeddings=256,
        rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}),
    # attention_multiplier stands for 1 / sqrt(head_dim) = 0.25
    "granite": dict(
        arch="granite", num_hidden_layers=3, intermediate_size=96, embedding_multiplier=0.6, residual_multiplier=1.5,
        attention_multiplier=0.4, logits_scaling=1.25),
    # layer 3 of 0..4 without RoPE
    "smollm3": dict(arch="smollm3", num_hidden_layers=5, intermediate_size=64, rope_theta=5e6, rms_norm_eps=1e-6),
}

Type = gguf.GGMLQuantizationType
MATRIX_TYPES = {"f32": Type.F32, "f16": Type.F16, "bf16": Type.BF16}
FILE_TYPES = {"f32": gguf.LlamaFileType.ALL_F32, "f16": gguf.LlamaFileType.MOSTLY_F16, "bf16": gguf.LlamaFileType.MOSTLY_BF16}

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def variant_of(name):
    v = {**DEFAULTS, **VARIANTS[name], "name": name}
    v["d"] = v["head_dim"] or v["hidden_size"] // v["num_attention_heads"]
    v["seed"] = zlib.crc32(name.encode())  # so that a new variant leaves the others as they are
    return v


def config_of(v):
    """As in the model's config.json; mlx-lm takes what its model knows."""
    config = {**v, "model_type": v["arch"], "vocab_size": N_VOCAB, "sliding_window_pattern": v["window_pattern"]}
    if v["module"] == "olmo3":
        config["layer_types"] = ["sliding_attention" if window else "full_attention" for window in layer_windows(v)]
    if v["rope_scaling"] and v.get("original_max_position_embeddings", 0) > N_TOKENS:  # mlx-lm has the long factors only
        config["rope_scaling"] = {**v["rope_scaling"], "long_factor": v["rope_scaling"]["short_factor"]}
    return {k: x for k, x in config.items() if x is not None}


def layer_windows(v):
    """What each layer sees: a number of tokens, or None for all."""
    pattern = v["window_pattern"] or v["num_hidden_layers"] + 1
    return [v["sliding_window"] if (i + 1) % pattern else None for i in range(v["num_hidden_layers"])]


# --- weights -----------------------------------------------------------------------------------------------------------


def make_weights(v):
    """Hugging Face names and row order -> float32 arrays, already rounded to what the GGUF file can hold."""
    rng = np.random.RandomState(v["seed"])  # the legacy generator: its stream is frozen across numpy versions
    hidden, d, ffn = v["hidden_size"], v["d"], v["intermediate_size"]
    n_q, n_kv = v["num_attention_heads"] * d, v["num_key_value_heads"] * d
    is_gemma = v["arch"].startswith("gemma")
    weights = {}

    def matrix(name, rows, columns, gain):
        w = (rng.standard_normal((rows, columns)) * gain / math.sqrt(columns)).astype(np.float32)
        weights[name] = gguf.quants.dequantize(gguf.quants.quantize(w, MATRIX_TYPES[v["dtype"]]), MATRIX_TYPES[v["dtype"]])

    def vector(name, n, low=0.5, high=1.5):
        weights[name] = rng.uniform(low, high, n).astype(np.float32)

    def norm(name, n, low=0.5, high=1.5):  # Gemma multiplies by 1 + weight
        vector(name, n, low - is_gemma, high - is_gemma)

    matrix("model.embed_tokens.weight", N_VOCAB, hidden, 2.5)
    for layer in range(v["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        if v["arch"] != "olmo2":
            norm(at + "input_layernorm.weight", hidden)
        matrix(at + "self_attn.q_proj.weight", n_q, hidden, 1.3)  # scores of a few nats: attention is not an average
        matrix(at + "self_attn.k_proj.weight", n_kv, hidden, 1.3)
        matrix(at + "self_attn.v_proj.weight", n_kv, hidden, 1.0)
        matrix(at + "self_attn.o_proj.weight", hidden, n_q, 1.0)
        if v["arch"] == "qwen2" or v["attention_bias"]:
            for p, n in ("q", n_q), ("k", n_kv), ("v", n_kv):
                vector(at + f"self_attn.{p}_proj.bias", n, -1.0, 1.0)
        if v["attention_bias"]:
            vector(at + "self_attn.o_proj.bias", hidden, -0.5, 0.5)
        if v["arch"] in ("qwen3", "gemma3", "olmo2"):  # olmo2: over all heads at once
            norm(at + "self_attn.q_norm.weight", n_q if v["arch"] == "olmo2" else d, 0.5, 2.0)
            norm(at + "self_attn.k_norm.weight", n_kv if v["arch"] == "olmo2" else d, 0.5, 2.0)
        norm(at + "post_attention_layernorm.weight", hidden)
        if is_gemma:
            norm(at + "pre_feedforward_layernorm.weight", hidden)
        matrix(at + "mlp.gate_proj.weight", ffn, hidden, 1.3)
        matrix(at + "mlp.up_proj.weight", ffn, hidden, 1.0)
        matrix(at + "mlp.down_proj.weight", hidden, ffn, 1.5)
        if is_gemma or v["arch"] == "olmo2":
            norm(at + "post_feedforward_layernorm.weight", hidden)
    norm("model.norm.weight", hidden)
    if not v["tie_word_embeddings"]:
        matrix("lm_head.weight", N_VOCAB, hidden, 2.5)
    return fused(weights) if v["arch"] == "phi3" else weights


def fused(weights):
    """Phi-3's matrices: rows of q, k, v in one; rows of gate, then up in one."""
    found = {}
    for name, w in weights.items():
        for part, others in ("self_attn.q_proj", "k_proj v_proj"), ("mlp.gate_proj", "up_proj"):
            if part in name:
                names = [name, *(name.replace(part.split(".")[1], other) for other in others.split())]
                name = name.replace("q_proj", "qkv_proj").replace("gate_proj", "gate_up_proj")
                w = np.concatenate([weights[n] for n in names])
        if not any(part in name for part in (".k_proj", ".v_proj", ".up_proj")):
            found[name] = w
    return found


def make_tokens(v):
    return np.random.RandomState(v["seed"] ^ 1).randint(0, N_VOCAB, N_TOKENS).astype(np.int32)


# --- logits: mlx-lm ------------------------------------------------------------------------------------------------------


def obey_windows(v, model):
    """Every layer gets the mask of its own window: mlx-lm's gemma2 has no windows, its llama not in every layer."""
    import mlx.nn as nn
    from mlx_lm.models.base import create_causal_mask

    class Windowed(nn.Module):
        def __init__(self, layer, window):
            super().__init__()
            self.layer, self.window, self.use_sliding = layer, window, False

        def __call__(self, h, mask=None, cache=None):
            return self.layer(h, create_causal_mask(h.shape[1], window_size=self.window), cache)

    model.model.layers = [Windowed(layer, window) for layer, window in zip(model.model.layers, layer_windows(v))]


def mlx_logits(v, weights, tokens):
    """(n_tokens, n_vocab) float32, all positions in one causal pass without a cache."""
    import mlx.core as mx

    mx.set_default_device(mx.cpu)
    module = importlib.import_module("mlx_lm.models." + (v["module"] or v["arch"]))
    model = module.Model(module.ModelArgs.from_dict(config_of(v)))
    weights = {name: mx.array(w) for name, w in weights.items()}
    if v["arch"] == "gemma3":
        weights = model.sanitize(weights)  # ties the output
    model.load_weights(list(weights.items()), strict=True)
    model.set_dtype(mx.float32)
    v.get("tweak", lambda model: None)(model)
    if v["sliding_window"] and v["arch"] in ("gemma2", "llama"):
        obey_windows(v, model)
    logits = model(mx.array(tokens)[None])[0]
    assert logits.dtype == mx.float32 and logits.shape == (len(tokens), N_VOCAB)
    return np.array(logits)


# --- the GGUF file -------------------------------------------------------------------------------------------------------

INTERLEAVED = ("llama", "granite", "smollm3")  # the architectures whose rope pairs are neighbours in GGUF


def interleave_rope_rows(w, n_heads):
    """Hugging Face pairs row i of a head with row i + d/2; INTERLEAVED ones in GGUF pair 2i and 2i + 1."""
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


@functools.cache
def name_map(arch, n_layers):
    (number,) = [number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == arch]
    return gguf.get_tensor_name_map(number, n_layers)


def gguf_name(v, name):
    return name_map(v["arch"], v["num_hidden_layers"]).get_name(name, try_suffixes=(".weight", ".bias"))


def add_parameters(w, v):
    w.add_block_count(v["num_hidden_layers"])
    w.add_context_length(v["max_position_embeddings"])
    w.add_embedding_length(v["hidden_size"])
    w.add_feed_forward_length(v["intermediate_size"])
    w.add_head_count(v["num_attention_heads"])
    w.add_head_count_kv(v["num_key_value_heads"])
    add_rope_scaling(w, v)
    if v["arch"] != "gemma2":
        w.add_rope_freq_base(v["rope_theta"])
    w.add_layer_norm_rms_eps(v["rms_norm_eps"])
    if v["head_dim"]:
        w.add_key_length(v["head_dim"])
        w.add_value_length(v["head_dim"])
    w.add_file_type(FILE_TYPES[v["dtype"]])
    if v["arch"] in INTERLEAVED:
        w.add_vocab_size(N_VOCAB)
        w.add_rope_dimension_count(v["d"])
    if v["arch"] == "phi3":
        w.add_rope_dimension_count(int(v["partial_rotary_factor"] * v["hidden_size"]) // v["num_attention_heads"])
        w.add_sliding_window(0)  # for none
    if v["sliding_window"]:
        w.add_sliding_window(v["sliding_window"])
    if v["arch"] == "gemma2":
        w.add_attn_logit_softcapping(v["attn_logit_softcapping"])
        w.add_final_logit_softcapping(v["final_logit_softcapping"])
    if v["module"] == "olmo3":  # Gemma's patterns are known by architecture
        w.add_sliding_window_pattern([window is not None for window in layer_windows(v)])
    if v["arch"] == "granite":
        w.add_attention_scale(v["attention_multiplier"])
        w.add_embedding_scale(v["embedding_multiplier"])
        w.add_residual_scale(v["residual_multiplier"])
        w.add_logit_scale(v["logits_scaling"])
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)


def add_rope_scaling(w, v):
    scaling = v["rope_scaling"] or {}
    if scaling.get("rope_type") in ("linear", "yarn"):  # llama3 has no key: it is the tensor rope_freqs.weight
        w.add_rope_scaling_type(gguf.RopeScalingType(scaling["rope_type"]))
        w.add_rope_scaling_factor(scaling["factor"])
    if scaling.get("rope_type") == "yarn":
        w.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
        if "beta_fast" in scaling:
            w.add_rope_scaling_yarn_beta_fast(scaling["beta_fast"])
            w.add_rope_scaling_yarn_beta_slow(scaling["beta_slow"])
    if v["arch"] == "phi3":  # no rope.scaling.type: the tensors rope_factors_{long,short}.weight announce longrope
        original = v.get("original_max_position_embeddings", v["max_position_embeddings"])
        w.add_rope_scaling_orig_ctx_len(original)
        if scaling:
            growth = v["max_position_embeddings"] / original
            w.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(growth) / math.log(original)))
    if v.get("rope_local_base_freq", 10000.0) != 10000.0:
        w.add_rope_freq_base_swa(v["rope_local_base_freq"])


def add_vocabulary(w, v):
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


def write_gguf(v, weights, path):
    w = gguf.GGUFWriter(path, v["arch"])
    w.add_type("model")
    w.add_name("tiny " + v["name"].replace("phi3", "phi 3"))  # llama.cpp wants Phi-3's vocabulary under the other name
    add_parameters(w, v)
    add_vocabulary(w, v)
    rope_type = (v["rope_scaling"] or {}).get("rope_type")
    if rope_type == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_divisors(v))
    if rope_type == "longrope":
        for length in "long", "short":
            w.add_tensor(f"rope_factors_{length}.weight", np.array(v["rope_scaling"][length + "_factor"], np.float32))
    for name, data in weights.items():
        if v["arch"] in INTERLEAVED and ".q_proj." in name:
            data = interleave_rope_rows(data, v["num_attention_heads"])
        if v["arch"] in INTERLEAVED and ".k_proj." in name:
            data = interleave_rope_rows(data, v["num_key_value_heads"])
        if v["arch"].startswith("gemma") and name.endswith("norm.weight"):
            data = data + np.float32(1)
        kind = MATRIX_TYPES[v["dtype"]] if data.ndim == 2 else Type.F32
        w.add_tensor(gguf_name(v, name), gguf.quants.quantize(np.ascontiguousarray(data), kind), raw_dtype=kind)
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


def without(weights, *ends, value=1):
    return {n: 0 * w + value if n.endswith(ends) else w for n, w in weights.items()}


def mutants(v, weights):
    """What a forward pass that forgets a feature would compute: name -> (variant, weights)."""
    found = rope_mutants(v, weights) | block_mutants(v, weights)
    for part in "q", "k", "v", "o":
        if any(f".{part}_proj.bias" in name for name in weights):
            found[f"no {part} bias"] = v, without(weights, f".{part}_proj.bias", value=0)
    if v["arch"] in ("qwen3", "olmo2", "gemma3"):
        found["no q/k norm weights"] = v, without(weights, "q_norm.weight", "k_norm.weight", value=v["arch"] != "gemma3")
    if v["sliding_window"]:
        found["no window"] = {**v, "sliding_window": 10 * N_TOKENS}, weights
        found["window of one less"] = {**v, "sliding_window": v["sliding_window"] - 1}, weights
    if v["window_pattern"]:
        found["windows elsewhere"] = {**v, "window_pattern": {2: 3}.get(v["window_pattern"], v["window_pattern"] - 1)}, weights
    return found


def rope_mutants(v, weights):
    found = {}
    scaling = v["rope_scaling"] or {}
    if scaling:
        found["no rope scaling"] = {**v, "rope_scaling": None}, weights
    if scaling.get("rope_type") == "yarn":
        found["no yarn magnitude"] = {**v, "rope_scaling": {**scaling, "mscale": 0.0}}, weights
        found["linear for yarn"] = {**v, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}, weights
    if "beta_fast" in scaling:
        found["default yarn betas"] = {**v, "rope_scaling": {k: x for k, x in scaling.items() if "beta" not in k}}, weights
    if scaling.get("rope_type") == "longrope":
        swapped = {**scaling, "long_factor": scaling["short_factor"], "short_factor": scaling["long_factor"]}
        found["long and short factors swapped"] = {**v, "rope_scaling": swapped}, weights
        original = v["original_max_position_embeddings"]
        found["no rope magnitude"] = {**v, "max_position_embeddings": original}, weights
    if scaling.get("rope_type") == "linear" and v["arch"] == "gemma3":
        found["scaling in every layer"] = {**v, "tweak": use_last_rope_scaling}, weights
    if v["arch"] == "gemma3":
        found["one rope base for all"] = {**v, "rope_local_base_freq": v["rope_theta"]}, weights
        if v["rope_local_base_freq"] != 10000.0:
            found["default local rope base"] = {**v, "rope_local_base_freq": 10000.0}, weights
    if v["arch"] == "smollm3":
        found["rope in every layer"] = {**v, "no_rope_layer_interval": 100}, weights
    if v["partial_rotary_factor"] != 1.0 and not scaling:
        found["whole heads turn"] = {**v, "partial_rotary_factor": 1.0}, weights
    heads = {".q_proj.": v["num_attention_heads"], ".k_proj.": v["num_key_value_heads"],
             "q_norm": v["num_attention_heads"] if v["arch"] == "olmo2" else 1,
             "k_norm": v["num_key_value_heads"] if v["arch"] == "olmo2" else 1,
             ".qkv_proj.": v["num_attention_heads"] + 2 * v["num_key_value_heads"]}
    swapped = {n: next((interleave_rope_rows(w, h) for part, h in heads.items() if part in n), w)
               for n, w in weights.items()}
    if v["arch"] == "phi3":  # v's rows, which rope does not touch, stay
        n_v = v["num_key_value_heads"] * v["d"]
        for name in swapped:
            if ".qkv_proj." in name:
                swapped[name][-n_v:] = weights[name][-n_v:]
    found["other rope pairing"] = v, swapped
    return found


def block_mutants(v, weights):
    found = {}
    if v["arch"].startswith("gemma"):
        found["norm weights without + 1"] = v, {n: w - 1 if n.endswith("norm.weight") else w for n, w in weights.items()}
        found["no embedding scale"] = {**v, "tweak": lambda model: scale_embeddings(model, v["hidden_size"] ** -0.5)}, weights
        found["silu for gelu"] = {**v, "tweak": silu_for_gelu}, weights
    for what in "attn_logit_softcapping", "final_logit_softcapping":
        if what in v:
            found["no " + what] = {**v, what: 1e4}, weights
    if v["arch"].startswith("gemma") or v["arch"] == "olmo2":
        one = int(v["arch"] == "olmo2")
        for what in "post_attention_layernorm", "post_feedforward_layernorm":
            found[f"no {what} weights"] = v, without(weights, what + ".weight", value=one)
    if v["arch"] == "olmo2":
        found["q/k norm head by head"] = {**v, "tweak": lambda model: norm_by_head(model, v["d"])}, weights
    if v["arch"] == "granite":
        for what, neutral in (("embedding_multiplier", 1.0), ("residual_multiplier", 1.0), ("logits_scaling", 1.0),
                              ("attention_multiplier", v["d"] ** -0.5)):
            found["no " + what] = {**v, what: neutral}, weights
    if v["arch"] == "phi3":
        half = v["intermediate_size"]
        found["gate and up swapped"] = v, {n: np.roll(w, half, 0) if "gate_up_proj" in n else w for n, w in weights.items()}
    return found


def use_last_rope_scaling(model):
    for layer in model.model.layers:
        layer.self_attn.rope.scale = 1 / 8


def scale_embeddings(model, factor):
    import mlx.nn as nn

    class Scaled(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def __call__(self, tokens):
            return self.inner(tokens) * factor

        def as_linear(self, h):
            return self.inner.as_linear(h)

    model.model.embed_tokens = Scaled(model.model.embed_tokens)


def silu_for_gelu(model):
    import mlx.nn as nn

    for layer in model.model.layers:
        layer.mlp.__class__ = type("Silu", (type(layer.mlp),), {
            "__call__": lambda self, x: self.down_proj(nn.silu(self.gate_proj(x)) * self.up_proj(x))})


def norm_by_head(model, d):
    import mlx.core as mx
    import mlx.nn as nn

    class ByHead(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def __call__(self, x):
            heads = x.reshape(*x.shape[:-1], -1, d)
            return mx.fast.rms_norm(heads, None, self.inner.eps).reshape(x.shape) * self.inner.weight

    for layer in model.model.layers:
        layer.self_attn.q_norm, layer.self_attn.k_norm = (
            ByHead(layer.self_attn.q_norm), ByHead(layer.self_attn.k_norm))


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
    from make_trained import llama_cpp_logits

    expected = mlx_logits({**v, **v["peer"]}, weights, tokens) if v["peer"] else golden

    def compare(what, bound, path, **settings):
        peer = llama_cpp_logits(path, tokens, **settings, yarn_betas=betas)
        moved = np.abs(peer - expected)
        same = (peer.argmax(1) == expected.argmax(1)).sum()
        print(f"    llama.cpp, {what}: max |diff| {moved.max():.1e}, mean {moved.mean():.1e}, "
              f"same top 1: {same}/{len(tokens)}")
        return not moved.max() < bound

    scaling = v["rope_scaling"] or {}
    betas = (scaling["beta_fast"], scaling["beta_slow"]) if "beta_fast" in scaling else None
    path = HERE / "tiny" / f"{name}.gguf"
    f32_bound = 2e-2 if v["arch"].startswith("gemma") else 2e-4  # llama.cpp looks GELU up in a table of f16
    with tempfile.TemporaryDirectory() as temporary:  # f16 weights cost llama.cpp accuracy: also try them as f32
        f32_path = pathlib.Path(temporary) / "f32.gguf"
        write_gguf({**v, "dtype": "f32"}, weights, f32_path)
        bad |= compare("same weights as f32, f32 cache, flash off", f32_bound, f32_path, kv="f32", flash=False)
    file_bound = 3e-1 if v["dtype"] == "bf16" else 5e-2  # of BF16 weights llama.cpp rounds the activations too
    bad |= compare("the file, f32 cache, flash off", file_bound, path, kv="f32", flash=False)
    bad |= compare("the file, f16 cache, flash on", file_bound, path, kv="f16", flash=True)
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
