#!/bin/sh
# tools/build.sh FOLDER [TARGET...]: builds with Debian's gcc, optimised; quiet when there is nothing to do.
set -eu
folder=$1
shift
if [ ! -f "$folder/build.ninja" ]; then
    rm -rf "$folder/meson-private" # of a set-up that was interrupted
    CC=gcc meson setup "$folder"
fi
# shellcheck disable=SC2015
ninja -C "$folder" -n "$@" | grep -q 'no work to do' || ninja -C "$folder" "$@"
