#!/bin/sh
# build.sh CARGO MANIFEST TARGET_DIR OUTPUT plain|coverage: builds the shim and puts the archive where Meson wants
# it. `coverage` lets libFuzzer see which code an input reaches. The C side's sanitizers stay on the C side: they
# would need a nightly compiler and another standard library.
set -eu
unset CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
RUSTFLAGS=
target=$(rustc -vV | sed -n 's/^host: //p')
if [ "$5" = coverage ]; then
    RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
        -Cllvm-args=-sanitizer-coverage-trace-compares"
fi
export RUSTFLAGS
# With a named target the flags spare build scripts, which run here and now.
"$1" build --release --locked --manifest-path "$2" --target-dir "$3" --target "$target"
cp "$3/$target/release/libcabinet_shim.a" "$4"
