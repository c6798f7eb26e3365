# Needs make and Python 3.11 or newer, nothing else; `make PYTHON=python3.12 …` picks another one.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PANDAS2 := .venv-pandas2
FLOORS := .venv-floors
SPARK := .venv-spark
# Both cores; tests share nothing, so they may go to whoever is free.
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal
# The theme would tell of its successor in every build.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
PYTHONS := 3.11 3.12 3.13
BENCHMARKS := startup prepare ledger ledger_postgres rate transports nightly

# pip's settings for an index, a proxy or a mirror stay in force; those that would install
# outside of .venv don't.
export PIP_USER := 0
unexport PIP_TARGET PIP_PREFIX PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help setup demo ui test test-all test-pythons setup-pythons check check-floors check-pandas2 check-spark dist docs \
  pins soak bench bench-quick clean
.DELETE_ON_ERROR:

help:
	@echo "make setup        create .venv and install the project with pinned versions"
	@echo "make demo         run the whole flow against a local Incarts, as Dagster's nightly job"
	@echo "make ui           the same in Dagster's UI, with a local Incarts beside it"
	@echo "make test         run the fast tests, in some five minutes; ARGS='-k rate' picks some"
	@echo "make test-all     run all tests: also with kills, faults, Dagster and a browser"
	@echo "make test-pythons  run the fast tests on each other Python that is here, of $(PYTHONS)"
	@echo "make check        format, lint, types, imports, docs, and all tests"
	@echo "make check-pandas2  run the tests of frames with pandas 2.2, in a venv of its own"
	@echo "make check-spark  run the tests of Spark frames on Spark itself, which needs Java"
	@echo "make check-floors  run the tests of the flow with the lowest versions that are allowed"
	@echo "make pins         write constraints.txt anew; ARGS=--upgrade takes the newest versions"
	@echo "make dist         build wheel, sdist, bill of materials and checksums into dist"
	@echo "make docs         build the documentation into build/site; warnings are errors"
	@echo "make soak         break everything for longer; ARGS='--minutes 10 --kills 200'"
	@echo "make bench        run the benchmarks beside what else people use, and write docs/performance.md;"
	@echo "                  bench-quick runs them small"
	@echo "make clean        remove caches, builds and the demo's files; .venv stays"

setup: $(STAMP)
	@echo "Ready: $(VENV) is up to date."

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "incarts_pipeline needs Python 3.11 or newer, but $(PYTHON) is" \
	    "$$($(PYTHON) --version 2>/dev/null || echo not there)." >&2; \
	  echo "Install one and name it: make PYTHON=python3.12 setup" >&2; exit 1; }
	@$(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "$(PYTHON) can't make virtual environments; on Debian: apt install python3-venv" >&2; \
	  exit 1; }
	@echo "Installing into $(VENV); this takes two to three minutes the first time."
	@$(BIN)/python -m pip install -qq --no-deps --require-hashes -r constraints.txt
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m dagster_defs.demo $(ARGS)

test: $(STAMP)
	@$(PYTEST) -m "not slow" $(ARGS)

test-all: $(STAMP)
	@$(PYTEST) $(ARGS)

# Each in a venv of its own. pyenv has commands also for versions that are not chosen, so they are
# tried, not looked for. One that isn't here is told and left out.
test-pythons setup-pythons:
	@set -e; for version in $(PYTHONS); do \
	  if $(BIN)/python --version 2>/dev/null | grep -q "^Python $$version\."; then \
	    echo "== Python $$version is $(VENV)'s: make test runs its tests"; continue; fi; \
	  found=; for python in python$$version "$$HOME"/.pyenv/versions/$$version.*/bin/python; do \
	    if "$$python" -c '' 2>/dev/null; then found=$$python; break; fi; done; \
	  if [ -z "$$found" ]; then echo "== Python $$version isn't here: skipped"; continue; fi; \
	  echo "== Python $$version"; \
	  $(MAKE) --no-print-directory $(@:-pythons=) PYTHON="$$found" VENV=.venv-$$version; done

# pytest comes last, so that its summary is what one sees. Its random data are the same each time:
# `make test` looks further.
check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MKDOCS)
	$(PYTEST) --hypothesis-profile=ci $(ARGS)

# pandas 3 changed how text is stored and when frames share data; both are promised to work.
check-pandas2: $(PANDAS2)/.installed
	$(PANDAS2)/bin/python -m pytest tests/dataframes tests/catalog/test_in_memory.py $(ARGS)

$(PANDAS2)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -m venv --clear $(PANDAS2)
	@sed -n '/^pandas==/d; /==/s/ *\\$$//p' constraints.txt > $(PANDAS2)/constraints.txt
	@$(PANDAS2)/bin/python -m pip install -qq -c $(PANDAS2)/constraints.txt \
	  -e . 'pandas==2.2.*' \
	  hypothesis nbclient ipykernel polars pytest pytest-timeout
	@touch $@

# The pinned environment has Spark's client alone, as Spark itself takes 470 MB. Here it stands
# before the client, in a venv that has all else from the pinned one.
check-spark: $(SPARK)/.installed
	$(SPARK)/bin/python -m pytest tests/test_spark.py -k "not sail" $(ARGS)

$(SPARK)/.installed: $(STAMP)
	@$(BIN)/python -m venv --clear --without-pip $(SPARK)
	@$(BIN)/python -m uv pip install --quiet --system-certs --python $(SPARK)/bin/python \
	  "$$(sed -n 's/^pyspark-client\(==[^ ]*\).*/pyspark\1/p' constraints.txt)"
	@$(BIN)/python -c 'import sys, sysconfig; from pathlib import Path; \
	  [site] = Path(sys.argv[1]).glob("lib/python*/site-packages"); \
	  pinned = sysconfig.get_path("purelib"); \
	  (site / "pinned.pth").write_text(f"import site; site.addsitedir({pinned!r})\n")' $(SPARK)
	@touch $@

# With the lowest versions that pyproject.toml allows; what the tests themselves need is as pinned,
# where it goes with those. Their warnings are of their time.
check-floors: $(FLOORS)/.installed
	$(FLOORS)/bin/python -m pytest -W ignore::DeprecationWarning -m "not slow" \
	  tests/catalog tests/mapping tests/prepare tests/plan tests/ledger tests/publish $(ARGS)

$(FLOORS)/.installed: $(STAMP) pyproject.toml constraints.txt
	@$(PYTHON) -m venv --clear $(FLOORS)
	@$(BIN)/python -m uv pip compile --quiet --system-certs --resolution lowest-direct --all-extras \
	  --no-header --no-annotate --python $(FLOORS)/bin/python pyproject.toml \
	  --output-file $(FLOORS)/floors.txt
	@$(BIN)/python -m uv pip install --quiet --system-certs --python $(FLOORS)/bin/python \
	  -r $(FLOORS)/floors.txt -e . cryptography hypothesis 'moto[s3,server]' nbformat odfpy openpyxl \
	  pillow polars pytest pytest-cov pytest-timeout pytest-xdist xlsxwriter xlwt zxing-cpp
	@touch $@

pins: $(STAMP)
	@$(BIN)/python -m release.pins $(ARGS)

dist: $(STAMP)
	@$(BIN)/python -m release.dist

docs: $(STAMP)
	@$(MKDOCS)
	@echo "Open build/site/index.html."

ui: $(STAMP)
	@$(BIN)/python -m dagster_defs.ui

bench: $(STAMP)
	@set -e; for name in $(BENCHMARKS); do echo "== $$name"; \
	  $(BIN)/python benchmarks/$$name.py $(QUICK) $(ARGS); done
	@echo "== compare"; $(BIN)/python benchmarks/compare.py $(or $(QUICK),--write docs) $(ARGS)

soak: $(STAMP)
	@$(BIN)/python -m tests.end_to_end.soak $(ARGS)

bench-quick: QUICK := --quick
bench-quick: bench

clean:
	rm -rf build dist demo .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache \
	  .pytest_cache .ruff_cache incarts_pipeline.egg-info
	find . -path './.venv*' -prune -o -name __pycache__ -type d -exec rm -rf {} +
