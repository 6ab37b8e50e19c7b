#!/bin/sh
# build.sh CARGO MANIFEST TARGET_DIR OUTPUT: builds the shim and puts the archive where Meson wants it.
# The C side's sanitizers stay on the C side: they would need a nightly compiler and another standard library.
set -eu
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
"$1" build --release --locked --manifest-path "$2" --target-dir "$3"
cp "$3/release/libcabinet_shim.a" "$4"
