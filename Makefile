# Everything a fresh checkout needs, on a machine with Python 3.11+, pip and make.
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2

.PHONY: help demo test test-all test-postgresql check providers format lock bench clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##/\1\t/p' $(MAKEFILE_LIST)

demo: .venv/server  ## install, then run the server on sample data
	$(BIN)/agentsight demo

test: .venv/dev chromium  ## install, then every check and the whole test suite
	$(MAKE) lint
	$(call tests,not exhaustive)

# Beside others no clock can be held to anything: what is timed runs after them, by itself.
define tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadscope -m "$(1) and not timed" $(2)
	$(BIN)/python -m pytest -m "$(1) and timed" $(2)
endef

test-all: .venv/dev chromium  ## the same with the exhaustive suites, and the chat with every vendor's packages
	$(MAKE) lint
	$(call tests,(exhaustive or not exhaustive))
	$(MAKE) test-postgresql WHICH="(exhaustive or not exhaustive)"
	$(MAKE) providers

# Suites that ask a server or keep data, and do not name an engine themselves.
ENGINES := tests/clients tests/durability tests/journeys tests/keeping tests/pages tests/scale tests/seeds tests/server
WHICH ?= not exhaustive
test-postgresql: export AGENTSIGHT_TEST_ENGINE := postgresql
test-postgresql: .venv/dev chromium  ## what asks a server once more, with everything kept in PostgreSQL
	$(call tests,$(WHICH),$(ENGINES))

providers: .venv/dev  ## the chat's providers and examples, in an environment for each list of tests/chat/environments
	$(BIN)/python tests/chat/environments/run.py

check: .venv/dev  ## what to run before a commit: all checks, without the slow suites
	$(MAKE) lint
	$(BIN)/python -m pytest -n $(JOBS) --dist loadscope -m "not slow and not exhaustive and not timed"

.PHONY: lint
lint:
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/dev  ## let ruff lay the code out
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: .venv/dev  ## write the lock files anew: versions and hashes, no index address
	$(BIN)/pip install -q uv
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
		--extra chat pyproject.toml -o requirements/server.lock
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
		--extra dev pyproject.toml -o requirements/dev.lock

bench: .venv/dev  ## every figure against peers and ceilings in one table; BENCH=--quick for a first look
	$(BIN)/python benchmarks/bench.py $(BENCH)

# A real browser for the tests of the pages; where none can be installed they say why they were skipped.
.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium poppler-utils; } || \
	echo "No Chromium here: tests of the pages will be skipped. Install it to run them."

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("AgentSight needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

.venv/server: .venv/bin/python pyproject.toml requirements/server.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/server.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

.venv/dev: .venv/bin/python pyproject.toml requirements/dev.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@ .venv/server

clean:  ## remove what was installed and built
	rm -rf .venv dist build
