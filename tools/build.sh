#!/bin/sh
# tools/build.sh FOLDER [TARGET...]: sets the build folder up, once, and builds; says nothing when there is nothing to do.
# FOLDER: build (the product: Debian's gcc, optimised), build-asan (ASan, UBSan, libFuzzer), build-tsan,
# build-arm (the kernels for aarch64, and their tests).
set -eu
cd "$(dirname "$0")/.."
folder=$1
shift
clang="--werror --buildtype=debugoptimized -Db_lundef=false"
if [ ! -f "$folder/build.ninja" ]; then
    rm -rf "$folder/meson-private" # of a set-up that was interrupted
    # shellcheck disable=SC2086 # a list of words
    case $folder in
    build) CC=gcc meson setup "$folder" --werror ;;
    build-asan) CC=clang-19 meson setup "$folder" $clang -Db_sanitize=address,undefined -Dfuzz=true ;;
    build-arm) meson setup "$folder" --werror --cross-file tools/aarch64.ini -Dkernels_only=true ;;
    build-tsan) CC=clang-19 meson setup "$folder" $clang -Db_sanitize=thread ;;
    *) echo "tools/build.sh: there is no build folder '$folder'" >&2 && exit 2 ;;
    esac
fi
python3 tools/fetch.py web --link "$folder" # uPlot, which web/ puts into the program
ninja -C "$folder" -n "$@" | grep -q 'no work to do' || ninja -C "$folder" "$@"
