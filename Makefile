# Needs make and Python 3.11 or newer, nothing else; `make PYTHON=python3.12 …` picks another one.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
BENCHMARKS := prepare ledger rate transports

# pip's settings for an index, a proxy or a mirror stay in force; those that would install
# outside of .venv don't.
export PIP_USER := 0
unexport PIP_TARGET PIP_PREFIX PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help setup demo ui test check soak bench bench-quick clean
.DELETE_ON_ERROR:

help:
	@echo "make setup        create .venv and install the project with pinned versions"
	@echo "make demo         run the whole flow against a local Incarts, as Dagster's nightly job"
	@echo "make ui           the same in Dagster's UI, with a local Incarts beside it"
	@echo "make test         run the tests; ARGS='-k rate' picks some"
	@echo "make check        format, lint, types, imports, and tests with branch coverage"
	@echo "make soak         break everything for longer; ARGS='--minutes 10 --kills 200'"
	@echo "make bench        run the benchmarks beside what else people use, and write docs/performance.md;"
	@echo "                  bench-quick runs them small"
	@echo "make clean        remove caches, builds and the demo's files; .venv stays"

setup: $(STAMP)
	@echo "Ready: .venv is up to date."

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "incarts_pipeline needs Python 3.11 or newer, but $(PYTHON) is" \
	    "$$($(PYTHON) --version 2>/dev/null || echo not there)." >&2; \
	  echo "Install one and name it: make PYTHON=python3.12 setup" >&2; exit 1; }
	@$(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  $(PYTHON) -m venv --clear .venv || { \
	  echo "$(PYTHON) can't make virtual environments; on Debian: apt install python3-venv" >&2; \
	  exit 1; }
	@echo "Installing into .venv; this takes a minute or two the first time."
	@$(BIN)/python -m pip install -qq 'pip>=25.3'
	@$(BIN)/python -m pip install -qq -c constraints.txt --build-constraint constraints.txt \
	  -e '.[dagster,sandbox]' --group dev
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m dagster_defs.demo $(ARGS)

test: $(STAMP)
	@$(BIN)/python -m pytest $(ARGS)

# pytest comes last, so that its summary is what one sees.
check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered $(ARGS)

ui: $(STAMP)
	@$(BIN)/python -m dagster_defs.ui

bench: $(STAMP)
	@set -e; for name in $(BENCHMARKS); do echo "== $$name"; \
	  $(BIN)/python benchmarks/$$name.py $(QUICK) $(ARGS); done
	@echo "== compare"; $(BIN)/python benchmarks/compare.py $(or $(QUICK),--write docs) $(ARGS)

soak: $(STAMP)
	@$(BIN)/python -m tests.soak $(ARGS)

bench-quick: QUICK := --quick
bench-quick: bench

clean:
	rm -rf build dist demo .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache \
	  .pytest_cache .ruff_cache incarts_pipeline.egg-info
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
