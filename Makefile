# make demo    set up and continue a shipped prompt with the shipped model
# make test    set up what is missing and run the tests
# make check   lint, format, types, generated pages, tests
# make test-live     the tests on real MIDI ports: needs jackd, which it installs where apt may
# make test-transcribe   the public model that writes recordings down: installs it, takes minutes
# make docs    the documentation as a static site in docs/_site
# make studio        build the page of the studio (needs Node) into arietta/server/static
# make test-browser  drive that page in Chromium (installed by apt where it is missing)
# make fuzz    the readers under sanitisers for an hour, then the server, by its own schema
# make mutation      small faults put into the code, and how many of them a test notices
# make test-deploy   Ray Serve in an environment of its own: two replicas, one killed under load
# make requirements  pinned and hashed packages of a release, and their list (SBOM)
# make bench   every benchmark; DATA=corpus DATASET=folder for those that need them
# make clean   remove what the others made

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3 python,$(if $(shell command -v $(p) 2>/dev/null),$(p))))
VENV := .venv
BIN := $(VENV)/bin
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
PROMPT ?= arietta/assets/prompts/nocturne.mid
JOBS ?= 2

.PHONY: demo test test-live test-transcribe fuzz fuzz-short mutation mutation-short requirements test-deploy check lint types docs pages bench clean \
	studio studio-check test-browser
.DEFAULT_GOAL := demo

demo: $(VENV)/.core
	@mkdir -p demo
	@$(BIN)/arietta generate $(PROMPT) -o demo/continued.mid --prompt-seconds 15 --seconds 30 \
		--seed 7 --wav --force

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(JOBS)

# Real ports of a JACK server with the dummy driver: no sound card is needed.
test-live: $(VENV)/.live
	@command -v jackd >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -q jackd2; }
	ARIETTA_LIVE=1 $(BIN)/python -m pytest tests/live

test-transcribe: $(VENV)/.transcribe
	ARIETTA_TRANSCRIBE=1 $(BIN)/python -m pytest tests/sound/test_transkun.py

# A reader of MIDI that ends at the first byte beside its memory. FUZZ_SECONDS and FUZZ_SEED may be
# given; what is found is kept in build/fuzz.
FUZZ_SECONDS ?= 3600
FUZZ_SEED ?= $(shell date +%j%H%M)
SANITISED := build/sanitised/_fastread.so

$(SANITISED): arietta/midi/_fastread.c
	@mkdir -p $(@D)
	$(CC) -shared -fPIC -g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined \
		-fno-sanitize-recover=all \
		$$($(BIN)/python -c 'import sysconfig; print("-I" + sysconfig.get_path("include"))') $< -o $@

# Python is not built for the sanitiser, which therefore comes first; its own leaks are not ours.
fuzz: $(VENV)/.dev $(SANITISED)
	LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
		ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 PYTHONMALLOC=malloc \
		$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) --seed $(FUZZ_SEED) \
		--module $(SANITISED)
	ARIETTA_FUZZ=300 $(BIN)/python -m pytest -q -n $(JOBS) tests/server/test_fuzz.py

test-deploy: $(VENV)-deploy/.ready
	$(VENV)-deploy/bin/python -m pytest -q -s -p no:cacheprovider -c /dev/null --rootdir . deploy

$(VENV)-deploy/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)-deploy
	@PYTHONWARNINGS=ignore $(VENV)-deploy/bin/python -m pip --disable-pip-version-check install --quiet \
		-c constraints.txt -e '.[studio]' 'ray[serve]' psutil pytest
	@touch $@

fuzz-short: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz --seconds 60

mutation: $(VENV)/.dev
	$(BIN)/python -m benchmarks.mutation --jobs $(JOBS)

mutation-short: $(VENV)/.dev
	$(BIN)/python -m benchmarks.mutation --short --jobs $(JOBS)

# What a release is installed from: pinned, hashed, and listed as CycloneDX.
requirements: $(VENV)-release/.ready
	$(VENV)-release/bin/pip-compile --quiet --generate-hashes --strip-extras --no-header \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options \
		-c constraints.txt -o requirements/release.txt pyproject.toml
	$(VENV)-release/bin/cyclonedx-py requirements requirements/release.txt --pyproject pyproject.toml \
		--mc-type application --output-reproducible --of JSON -o requirements/sbom.cdx.json
	$(VENV)-release/bin/python requirements/without_index.py requirements/sbom.cdx.json

$(VENV)-release/.ready:
	$(PYTHON) -m venv $(VENV)-release
	@PYTHONWARNINGS=ignore $(VENV)-release/bin/python -m pip --disable-pip-version-check install --quiet \
		'pip-tools==7.6.2' 'cyclonedx-bom==7.5.0'
	@touch $@

check: lint types pages test fuzz-short mutation-short

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror arietta/midi/*.c arietta/models/kernel/*.c

types: $(VENV)/.dev
	$(BIN)/mypy

# The command reference, the API reference and the tables of models, when they are stale.
pages: $(VENV)/.dev
	$(BIN)/python -m docs.make --check

docs: $(VENV)/.dev
	$(BIN)/python -m docs.make
	$(BIN)/python -m sphinx -q -W --keep-going -b html -d docs/_site/.doctrees docs docs/_site
	@echo "docs/_site/index.html"

STATIC := arietta/server/static

studio: studio/node_modules/.package-lock.json
	cd studio && npm run --silent build

# The page that is committed is the one its sources make.
studio-check: studio/node_modules/.package-lock.json
	cd studio && npm test --silent && npm run --silent build -- --outDir ../build/studio
	diff -r build/studio $(STATIC)

test-browser: $(VENV)/.dev studio/node_modules/.package-lock.json
	@command -v chromium >/dev/null || \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y chromium fonts-dejavu-core; }
	cd studio && npm run --silent test-browser

studio/node_modules/.package-lock.json: studio/package-lock.json
	cd studio && npm ci --silent
	@touch $@

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks $(if $(DATA),--data $(DATA)) $(if $(DATASET),--dataset $(DATASET))

clean:
	rm -rf $(VENV) demo docs/_site build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Each stamp says that the environment holds what its name needs. An environment made by hand is
# completed, not replaced.
$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; this is" "$$($(PYTHON) --version)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml setup.py constraints.txt | $(VENV)/bin/python
	@echo "Setting up arietta in $(VENV) (once) ..."
	@$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo "Adding what the tests need (once) ..."
	@$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/.live: $(VENV)/.dev
	@$(PIP) -e '.[dev,live]'
	@touch $@

$(VENV)/.transcribe: $(VENV)/.dev
	@$(PIP) -e '.[dev,transcribe]'
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	@$(PIP) -e '.[dev,bench]'
	@touch $@
