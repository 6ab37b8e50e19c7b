#!/bin/sh
# tools/goldens.sh: computes tests/golden/ again with independent programs (tests/golden/README.md says which, and what
# may differ). They live in a virtual environment in the user's cache folder; making it compiles llama.cpp.
set -eu
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cabinet
golden=tests/golden
model=$cache/models/SmolLM2-135M-Instruct.Q4_1.gguf
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
run "$golden/make_tokenizer.py" "$model" "$golden/tokenizer_smollm2.bin"
run "$golden/make_pretokenizer.py" "$golden/pretokenizer.bin"
run "$golden/make_sentencepiece.py" "$golden/sentencepiece"
run "$golden/make_templates.py" "$cache/templates" "$golden/templates.json"
run "$golden/make_tiny_models.py"
run "$golden/make_tiny_models.py" --verify
run "$golden/make_smollm2.py" "$model"
run "$golden/make_smollm2.py" "$model" --exact --out "$golden/smollm2_exact.logits"
git status --short "$golden"
