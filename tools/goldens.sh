#!/bin/sh
# tools/goldens.sh: computes tests/golden/ again with independent programs (tests/golden/README.md says which, and what
# may differ). They live in a virtual environment in the user's cache folder; making it compiles llama.cpp.
set -eu
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cabinet
golden=tests/golden
smollm2=$cache/models/SmolLM2-135M-Instruct.Q4_1.gguf
gemma=$cache/gemma/gemma-3-270m-q4_k_m.gguf
if ! cmp -s "$golden/requirements.txt" "$cache/goldens/installed"; then
    echo "Making the environment of $golden/requirements.txt (compiles llama.cpp: ten minutes or more)"
    python3 -m venv --clear "$cache/goldens"
    switches="-DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF" # requirements.txt says why
    ! grep -q avx512_bf16 /proc/cpuinfo ||
        switches="$switches -DGGML_AVX512=ON -DGGML_AVX512_VBMI=ON -DGGML_AVX512_VNNI=ON -DGGML_AVX512_BF16=ON"
    CMAKE_ARGS=$switches "$cache/goldens/bin/pip" install --disable-pip-version-check -r "$golden/requirements.txt"
    cp "$golden/requirements.txt" "$cache/goldens/installed"
fi
run() {
    echo "$@"
    "$cache/goldens/bin/python" "$@"
}
run "$golden/make_dequantize.py" "$golden/dequantize.bin"
run "$golden/make_tokenizer.py" "$smollm2" "$golden/tokenizer_smollm2.bin"
run "$golden/make_pretokenizer.py" "$golden/pretokenizer.bin"
run "$golden/make_sentencepiece.py" "$golden/sentencepiece"
run "$golden/make_templates.py" "$cache/templates" "$golden/templates.json"
run "$golden/make_tiny_models.py"
run "$golden/make_tiny_models.py" --verify
run "$golden/make_trained.py" "$smollm2" "$golden/smollm2.logits" --by peer --rulers
run "$golden/make_trained.py" "$smollm2" "$golden/smollm2_exact.logits" --by exact
run "$golden/make_trained.py" "$smollm2" "$golden/smollm2_peer_f32.logits" --by peer-f32
run "$golden/make_trained.py" "$gemma" "$golden/gemma3_270m_exact.logits" --by exact --top 256 --rulers
run "$golden/make_trained.py" "$gemma" "$golden/gemma3_270m_long.logits" --by exact --top 256 --long
run "$golden/make_trained.py" "$gemma" "$golden/gemma3_270m_long.logits" --by peer-f32 --long --verify
run "$golden/make_perplexity.py" "$golden/perplexity.json" "$smollm2" "$gemma"
git status --short "$golden"
