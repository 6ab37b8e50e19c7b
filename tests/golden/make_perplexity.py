"""Makes perplexity.json: the perplexity of trained models on a text, as llama.cpp (llama-cpp-python) computes it.

    python make_perplexity.py OUT.json MODEL.gguf...
        [--verify]     writes nothing, compares with the file on disk

Scored as llama.cpp's tools/perplexity does (README.md compares): 8,192 tokens of topics_text.py in chunks of
2,048, the first token of a chunk replaced by the model's BOS token if it wants one, the second half of each chunk scored.
f16 cache, flash attention, batches of 512.
"""

import argparse
import ctypes
import json
import math
import pathlib
import sys

import numpy as np
from make_trained import log_probabilities, open_model, quiet_llama_cpp
from topics_text import topics_text

N_TOKENS, CONTEXT, BATCH = 8192, 2048, 512


def tokenize(api, vocab, text):
    tokens = (ctypes.c_int32 * len(text))()
    n = api.llama_tokenize(vocab, text, len(text), tokens, len(text), True, False)
    assert n >= N_TOKENS, f"the text has only {n} tokens"
    return np.array(tokens[:N_TOKENS], np.int32)


def chunk_nll(api, context, n_vocab, tokens):
    """-log p of the tokens of the second half but its first."""
    first, nll = CONTEXT // 2, []
    api.llama_memory_clear(api.llama_get_memory(context), True)
    batch = api.llama_batch_init(BATCH, 0, 1)
    for start in range(0, CONTEXT, BATCH):
        batch.n_tokens = BATCH
        for i in range(BATCH):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = int(tokens[start + i]), start + i, 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = start + i >= first
        if api.llama_decode(context, batch) != 0:
            raise SystemExit("llama_decode failed")
        for i in range(BATCH):
            at = start + i
            if first <= at < CONTEXT - 1:
                logits = np.ctypeslib.as_array(api.llama_get_logits_ith(context, i), (n_vocab,))
                nll.append(-log_probabilities(logits[None])[0, tokens[at + 1]])
    api.llama_batch_free(batch)
    return nll


def measure(path):
    api = quiet_llama_cpp()
    model = open_model(path)
    vocab = api.llama_model_get_vocab(model)
    params = api.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = CONTEXT, BATCH, BATCH
    params.n_threads = params.n_threads_batch = 2
    params.type_k = params.type_v = api.GGML_TYPE_F16
    params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_ENABLED
    context = api.llama_init_from_model(model, params)
    tokens = tokenize(api, vocab, topics_text())
    nll = []
    for start in range(0, N_TOKENS, CONTEXT):
        chunk = tokens[start:start + CONTEXT].copy()
        if api.llama_vocab_get_add_bos(vocab):
            chunk[0] = api.llama_vocab_bos(vocab)
        nll += chunk_nll(api, context, api.llama_vocab_n_tokens(vocab), chunk)
        print(f"{path.name}: {len(nll)} tokens, perplexity {math.exp(np.mean(nll)):.4f}", flush=True)
    api.llama_free(context)
    api.llama_model_free(model)
    ppl = math.exp(np.mean(nll))
    return {"tokens": N_TOKENS, "context_tokens": CONTEXT, "scored_tokens": len(nll), "ppl": round(ppl, 4),
            "ppl_stderr": round(ppl * np.std(nll) / math.sqrt(len(nll) - 1), 4)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("models", type=pathlib.Path, nargs="+")
    parser.add_argument("--verify", action="store_true")
    options = parser.parse_args()
    found = {path.name: measure(path) for path in options.models}
    if options.verify:
        on_disk = json.loads(options.out.read_text())
        same = all(abs(found[name]["ppl"] / on_disk[name]["ppl"] - 1) < 2e-3 for name in found)
        sys.exit(0 if same else "disagreement: see above")
    options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
