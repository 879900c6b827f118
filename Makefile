# `make help` lists what there is. Everything lives in .venv, made on first use.
VENV := .venv
PYTHON3 ?= python3
PYTHON := $(VENV)/bin/python
UV := $(VENV)/bin/uv
READY := $(VENV)/.ready
SAMSTAR := $(VENV)/bin/samstar
PYTEST := $(PYTHON) -m pytest
# one test process a core, each with one thread
export OMP_NUM_THREADS ?= 1
# the torch wheels are large
export UV_HTTP_TIMEOUT ?= 600

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow lint format typecheck tree imports bench bench-peers artefacts docs system-deps clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv with everything in it; done by itself where needed

$(UV): constraints.txt
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or later is needed, $(PYTHON3) is older: make PYTHON3=python3.12 ..." >&2; exit 1; }
	@test -x $(PYTHON) || $(PYTHON3) -m venv $(VENV) || { \
		echo "$(PYTHON3) cannot create environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	@touch $@

$(READY): pyproject.toml constraints.txt $(UV)
	$(UV) pip install --quiet --python $(PYTHON) --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY) ## simulate, train and compare the tuners; a table and a report in some minutes
	OMP_NUM_THREADS=2 $(SAMSTAR) demo

test: $(READY) ## the tests, in a few minutes
	$(PYTEST) -n auto --dist worksteal -m "not slow"

test-slow: $(READY) ## the tests that take longer
	$(PYTEST) -n auto --dist worksteal -m slow

lint: $(READY) typecheck imports ## style, types and the direction of imports
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: $(READY) ## put the code into the common format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

typecheck: $(READY) ## mypy over the package, envs, agents and scripts
	$(VENV)/bin/mypy

# import-linter and mkdocstrings follow no package mapping: they get a tree in which the folders lie
# where they are imported
tree: $(READY)
	@rm -rf build/tree && mkdir -p build/tree
	@cp -R samstar_rl build/tree/ && cp -R envs agents scripts build/tree/samstar_rl/

imports: tree ## that imports run one way
	cd build/tree && ../../$(VENV)/bin/lint-imports --no-cache --config ../../pyproject.toml

bench: $(READY) ## how much faster than the stock generator; writes build/bench.json
	OMP_NUM_THREADS=2 $(PYTHON) -m tests.benchmarks

bench-peers: $(READY) ## the same beside micro-sam, in an environment of its own
	OMP_NUM_THREADS=2 $(PYTHON) -m tests.benchmarks --peers

artefacts: $(READY) ## rebuild what depends on the embedded weights: static settings, policies, figures
	$(SAMSTAR) dev artefacts

docs: tree ## the documentation as a site in build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

system-deps: ## Debian packages for the tests that open a browser or a window; needs root
	@if command -v chromium >/dev/null 2>&1 && [ -e /usr/lib/*/libEGL.so.1 ]; then echo "chromium and libEGL are there"; \
	elif ! command -v apt-get >/dev/null 2>&1; then echo "skipped: no apt-get here; the tests that need Chromium will skip"; \
	elif [ "$$(id -u)" != 0 ]; then echo "skipped: not root; the tests that need Chromium will skip (sudo make system-deps)"; \
	else apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		chromium libegl1 libgl1 libopengl0 libxkbcommon0 libdbus-1-3 libfontconfig1 libxcb-cursor0 \
		|| echo "skipped: apt-get failed; the tests that need Chromium or a window will skip"; fi

clean: ## remove builds and caches; .venv and runs stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find samstar_rl envs agents scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
