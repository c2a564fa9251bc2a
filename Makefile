# make demo    two recipes over four throw-away SSH hosts on this machine
# make test    the tests
# make check   format, lint, types, tests
# make bench   the benchmarks
# make clean   remove all that these make
#
# Everything runs in .venv, made anew when setup.cfg changes. PYTHON=... chooses the interpreter, 3.11 or later.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test check bench clean
.DEFAULT_GOAL := check

demo: $(STAMP)
	$(BIN)/python bench/demo.py

test: $(STAMP)
	$(BIN)/python -m pytest -n auto

check: $(STAMP)
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m ruff check
	$(BIN)/python -m mypy
	$(MAKE) test

bench: $(STAMP)
	@for script in bench/bench_*.py; do \
	    [ -e "$$script" ] || { echo "no benchmarks in bench/"; exit 0; }; \
	    echo "== $$script"; $(BIN)/python "$$script" || exit 1; \
	done

$(STAMP): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo 'make: expected Python 3.11 or later, got $(PYTHON); say PYTHON=/path/to/python3.11' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	    || { echo 'make: $(PYTHON) cannot make virtual environments; Debian: apt install python3-venv' >&2; exit 1; }
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
