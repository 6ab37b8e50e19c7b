"""A small model of any architecture with random weights, around the vocabulary of a real one."""

import random
import struct

import gguf_edit
from gguf_edit import BOOL, F32, STRING, U32, Gguf, Tensor

TYPE_Q8_0 = 8
WIDTH, N_FF, N_HEADS, N_KV_HEADS, HEAD_DIM, N_LAYERS, CONTEXT = 64, 96, 4, 2, 32, 4, 512
POST_NORMS = ("gemma2", "gemma3", "olmo2")

# What an architecture needs beside the sizes that all have.
VALUES = {
    "llama": [("attention.sliding_window", U32, 32)],
    "gemma2": [("attention.sliding_window", U32, 32), ("attn_logit_softcapping", F32, 50.0), ("final_logit_softcapping", F32, 30.0)],
    "gemma3": [("attention.sliding_window", U32, 32), ("attention.sliding_window_pattern", U32, 2)],
    "granite": [("embedding_scale", F32, 3.0), ("residual_scale", F32, 0.5), ("attention.scale", F32, 0.1), ("logit_scale", F32, 2.0)],
    "phi3": [("rope.dimension_count", U32, 16)],
}


def q8_0(generator, n_columns, n_rows):
    """Random groups whose numbers lie between -1 and 1, divided by the root of the row's length."""
    scale = struct.pack("<e", 1 / 128 / n_columns**0.5)
    codes = generator.randbytes(n_columns * n_rows)
    return b"".join(scale + codes[i:i + 32] for i in range(0, len(codes), 32))


def make(architecture, vocabulary, seed=1):
    generator = random.Random(seed)
    source = gguf_edit.read(vocabulary)
    file = Gguf()
    file.set("general.architecture", architecture, STRING)
    for key, kind, value in [("block_count", U32, N_LAYERS), ("context_length", U32, CONTEXT), ("embedding_length", U32, WIDTH),
                             ("feed_forward_length", U32, N_FF), ("attention.head_count", U32, N_HEADS),
                             ("attention.head_count_kv", U32, N_KV_HEADS), ("attention.key_length", U32, HEAD_DIM),
                             ("attention.value_length", U32, HEAD_DIM), ("attention.layer_norm_rms_epsilon", F32, 1e-5),
                             *VALUES.get(architecture, [])]:
        file.set(f"{architecture}.{key}", value, kind)
    file.values |= {key: value for key, value in source.values.items() if key.startswith("tokenizer.")}
    file.set("tokenizer.ggml.add_bos_token", False, BOOL)
    n_vocab = len(file.values["tokenizer.ggml.tokens"][1][1])

    def matrix(name, n_columns, n_rows):
        file.tensors.append(Tensor(name, [n_columns, n_rows], TYPE_Q8_0, q8_0(generator, n_columns, n_rows)))

    def norm(name, n):
        file.tensors.append(Tensor(name, [n], gguf_edit.TYPE_F32, struct.pack(f"<{n}f", *(generator.uniform(0.5, 1.5) for _ in range(n)))))

    q_width, kv_width = N_HEADS * HEAD_DIM, N_KV_HEADS * HEAD_DIM
    matrix("token_embd.weight", WIDTH, n_vocab)
    norm("output_norm.weight", WIDTH)
    for layer in range(N_LAYERS):
        at = f"blk.{layer}."
        if architecture != "olmo2":
            norm(at + "attn_norm.weight", WIDTH)
            norm(at + "ffn_norm.weight", WIDTH)
        if architecture in POST_NORMS:
            norm(at + "post_attention_norm.weight", WIDTH)
            norm(at + "post_ffw_norm.weight", WIDTH)
        if architecture in ("qwen3", "gemma3", "olmo2"):
            norm(at + "attn_q_norm.weight", q_width if architecture == "olmo2" else HEAD_DIM)
            norm(at + "attn_k_norm.weight", kv_width if architecture == "olmo2" else HEAD_DIM)
        if architecture == "phi3":
            matrix(at + "attn_qkv.weight", WIDTH, q_width + 2 * kv_width)
            matrix(at + "ffn_up.weight", WIDTH, 2 * N_FF)
        else:
            matrix(at + "attn_q.weight", WIDTH, q_width)
            matrix(at + "attn_k.weight", WIDTH, kv_width)
            matrix(at + "attn_v.weight", WIDTH, kv_width)
            matrix(at + "ffn_gate.weight", WIDTH, N_FF)
            matrix(at + "ffn_up.weight", WIDTH, N_FF)
        matrix(at + "attn_output.weight", q_width, WIDTH)
        matrix(at + "ffn_down.weight", N_FF, WIDTH)
    return file
