# Everything from a fresh clone with python3 (3.10 or later) and its venv module alone:
# "make demo" predicts a crystal, "make test" checks all that must hold before a commit.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
# Test processes, one thread each: faster than one process of several threads.
JOBS ?= 2

BIN := $(VENV)/bin
# Changes with requirements, version, and the folder, which an editable install points to.
KEY := $(shell (pwd; cat setup.cfg; grep __version__ ase_continuousp/__init__.py) | cksum | tr -d ' \n')
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1

# $(call setup,EXTRAS): an environment with the package and these extras, made or mended only if
# it is absent, broken, or stamped by other requirements. torch comes first, for packages that
# build against it.
define setup
	@if ! $(BIN)/python -c 'import pip' 2>/dev/null; then \
		$(PYTHON) -c 'import sys; sys.exit("set PYTHON: 3.10 or later is needed" if sys.version_info < (3, 10) else 0)'; \
		rm -rf $(VENV); \
		$(PYTHON) -m venv $(VENV); \
	fi
	@stamp="$(VENV)/ready-$(subst $(comma),-,$(1))"; \
	if [ "$$(cat "$$stamp" 2>/dev/null)" != "$(KEY)" ]; then \
		$(BIN)/python -m pip install --disable-pip-version-check --quiet torch==2.13.0; \
		$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[$(1)]'; \
		echo $(KEY) > "$$stamp"; \
	fi
endef
comma := ,

.PHONY: help demo test lint bench test-integrations programs compatibility clean setup-demo setup-test setup-peers

help:
	@echo "make demo               predict SrTiO3 from its formula; results in demo/"
	@echo "make test               lint, types, layers, tests"
	@echo "make lint               lint, types, layers"
	@echo "make bench              timings against other programs (.venv-bench) into README.md"
	@echo "make test-integrations  tests with other programs, installed into .venv-integrations"
	@echo "make compatibility      the table of suites and tools in docs/ase.md"
	@echo "make clean              remove caches and results; the environment stays"

setup-demo:
	$(call setup,report$(comma)search)

setup-test:
	$(call setup,data$(comma)report$(comma)search$(comma)test)

demo: setup-demo
	@mkdir -p demo
	$(THREADS) $(BIN)/python examples/01_predict_srtio3.py --out demo

lint: setup-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(THREADS) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# Other people's tools in an environment of their own: they are many and pin what they like. What
# cannot be installed is named, and its tests are skipped.
TOOLS := .venv-integrations
# Programs of Debian, installed where that is allowed (root, apt-get), and named where it is not. The
# lines of the table: Quantum ESPRESSO, PostgreSQL, a browser, and what pip builds GPAW with.
PROGRAMS := quantum-espresso quantum-espresso-data \
	postgresql \
	chromium chromium-driver \
	g++ python3-dev libxc-dev libopenblas-dev libopenmpi-dev

programs:
	@missing="$$(for program in $(PROGRAMS); do \
		dpkg-query -W -f '$${Status}' "$$program" 2> /dev/null | grep -q 'ok installed' || echo "$$program"; \
	done)"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then \
		echo "not here, tests that need them are skipped: apt-get install" $$missing; \
		exit 0; \
	fi; \
	echo "apt-get install" $$missing; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq || true; \
	for program in $$missing; do \
		apt-get install -y -qq --no-install-recommends "$$program" > /dev/null < /dev/null \
			|| echo "not to be had here, its tests are skipped: $$program"; \
	done

test-integrations: programs
	$(MAKE) VENV=$(TOOLS) setup-test
	@while read -r package; do \
		$(TOOLS)/bin/python -m pip install --disable-pip-version-check --quiet torch==2.13.0 "$$package" < /dev/null \
			|| echo "not to be had here, its tests are skipped: $$package"; \
	done < tests/integrations/requirements.txt
	$(THREADS) $(TOOLS)/bin/python -m pytest -n $(JOBS) --dist worksteal -m integration

# The table of docs/ase.md, in the environment that has all of the tools.
compatibility:
	@test -x $(TOOLS)/bin/python || { echo 'run "make test-integrations" first' >&2; exit 2; }
	$(THREADS) $(TOOLS)/bin/python docs/compatibility.py

# Timings against other people's programs, in an environment of their own; the table goes into
# README.md. What cannot be installed is named and left out.
PEERS := .venv-bench
setup-peers:
	$(call setup,report$(comma)search)

bench:
	$(MAKE) VENV=$(PEERS) setup-peers
	@$(PEERS)/bin/python benchmarks/peers.py | while read -r package; do \
		$(PEERS)/bin/python -m pip install --disable-pip-version-check --quiet torch==2.13.0 "$$package" < /dev/null \
			|| echo "not to be had here, left out: $$package"; \
	done
	$(PEERS)/bin/python benchmarks/table.py

clean:
	rm -rf build dist demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -not -path './$(VENV)/*' -not -path './$(TOOLS)/*' -not -path './$(PEERS)/*' -prune -exec rm -rf {} +
