#!/bin/sh
# tools/demo.sh: one answer, and what to try next.
set -eu
prompt='Why is the sky blue? Answer in two sentences.'

echo
echo "\$ build/cabinet run smollm2 -p '$prompt' -n 80 --temp 0"
echo
build/cabinet run smollm2 -p "$prompt" -n 80 --temp 0
cat <<'END'

Next:
  build/cabinet run smollm2          chat: later turns reuse the cache of earlier ones (/help, /bill)
  build/cabinet inspect smollm2      what a conversation costs to remember, before you have it
  build/cabinet bench smollm2        speed, beside what this machine could do at most
  make help                          tests, benchmarks, tools
END
