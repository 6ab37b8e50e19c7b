# Meson, cargo and pip do the work; this file says in which order. Targets: `make help`.

CABINET = build/cabinet
PYTHON = python3
# Commands that cost nothing when they have nothing to do, so that every target may name them.
SETUP = @tools/setup.sh
BUILD = @tools/build.sh
FETCH = @$(PYTHON) tools/fetch.py

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: build ## the first steps: install, build, fetch the demo model, answer one prompt
	$(FETCH) models
	@tools/demo.sh

build: ## build/cabinet, and the system packages that it needs
	$(SETUP) build
	$(BUILD) build src/cli/cabinet
	@ln -sfn src/cli/cabinet $(CABINET)

check: ## every test: static checks, release, ASan and UBSan, TSan, fuzzers for 10 s each, aarch64 kernels
	$(SETUP) build check
	@tools/setup.sh arm || echo "make check: without the packages for aarch64, its kernels are not checked"
	@$(PYTHON) tools/check.py $(CHECK)

asan: ## only the tests under ASan and UBSan
	$(SETUP) build check
	@$(PYTHON) tools/check.py asan

tsan: ## only the tests under TSan
	$(SETUP) build check
	@$(PYTHON) tools/check.py tsan

fuzz: ## only the fuzzers, 10 s each (longer: make fuzz SECONDS=60)
	$(SETUP) build check
	@$(PYTHON) tools/check.py fuzz --seconds $(SECONDS)
SECONDS = 10

soak: build ## fuzzers for 10 minutes each, damaged models, ten million random operations on the cache, 10,000 requests, 1,000 answers held to schemas
	$(SETUP) build check
	@$(PYTHON) tools/check.py fuzz --seconds 600
	$(BUILD) build-asan tests/fuzz/mutations
	build-asan/tests/fuzz/mutations 50000 $$(date +%s) tests/golden/tiny/*.gguf
	$(BUILD) build tests/prop/prop_kv
	build/tests/prop/prop_kv 10000000 $$(date +%s)
	$(FETCH) models clients --link build
	CABINET_GENERATIONS=1000 meson test -C build --no-rebuild --timeout-multiplier 20 'e2e json schema' 'e2e json schema demo'
	CABINET_LOAD_REQUESTS=10000 CABINET=$(CABINET) $(PYTHON) tests/e2e/test_server_load.py

bench: build ## speed of the demo model beside this machine's limits
	$(FETCH) models
	$(CABINET) bench smollm2 -d 0,4096 -b 1,4

quality: build ## what each format of the KV cache costs the demo model (an hour)
	$(SETUP) build texts
	$(FETCH) models texts
	$(CABINET) quality smollm2

bench-smoke: build ## key speeds beside this machine's limits, in a minute
	$(FETCH) models
	@$(PYTHON) bench/smoke.py

bench-peers: build ## side by side with llama.cpp and OpenVINO, which it builds and fetches the first time (an hour; ROUNDS=5)
	$(SETUP) build peer
	$(FETCH) models gemma peers
	@$(PYTHON) bench/peers.py --rounds $(ROUNDS)
ROUNDS = 5

bench-serve: build ## many conversations beside llama-server, which it builds the first time (10 minutes)
	$(SETUP) build peer
	$(FETCH) models
	@$(PYTHON) bench/serve.py

bench-load: build ## the same load by a program of others (AIPerf: 1.2 GB the first time)
	$(SETUP) build peer
	$(FETCH) models
	@$(PYTHON) bench/independent.py

goldens: build ## recompute tests/golden/ with independent programs (compiles llama.cpp)
	$(SETUP) build goldens
	$(FETCH) models templates gemma
	@tools/goldens.sh

check-fresh: ## `make demo` and `make check` in a fresh Debian 12 (root only; 40 minutes)
	$(SETUP) build fresh
	@tools/check_fresh.sh

third-party: ## rewrite THIRD_PARTY.md
	@$(PYTHON) tools/third_party.py

format: ## clang-format on all C files
	$(SETUP) check
	@git ls-files -co --exclude-standard '*.c' '*.h' | xargs clang-format-19 -i

clean: ## remove the build folders (what was fetched stays)
	rm -rf build build-asan build-tsan

.PHONY: help demo build check asan tsan fuzz soak bench quality bench-smoke bench-peers bench-serve bench-load goldens check-fresh third-party format clean
