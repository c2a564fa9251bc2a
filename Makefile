# make demo    two recipes over four throw-away SSH hosts on this machine
# make test    the tests
# make warmth  the tests in which node scripts run, once with each script forked from a warm process, once with none
# make check   format, lint, types, tests
# make bench   the benchmarks, ours and beside GNU parallel, HyperQueue, Dask, Celery, ...
# make clean   remove all that these make
#
# Everything runs in .venv, made anew when setup.cfg changes. PYTHON=... chooses the interpreter, 3.11 or later.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test warmth check bench clean
.DEFAULT_GOAL := check

demo: $(STAMP)
	$(BIN)/python bench/demo.py

test: $(STAMP)
	$(BIN)/python -m pytest -n auto

# `make test` runs them as users do, by default: the first job of a script starts a Python, later ones are forked.
warmth: $(STAMP)
	@set -e; for warm in 'at once' off; do \
	    echo "== warm = $$warm"; \
	    PIPELINE_TEST_WARM="$$warm" $(BIN)/python -m pytest -n auto $$(grep -l 'from harness import' tests/test_*.py); \
	done

check: $(STAMP)
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m ruff check
	$(BIN)/python -m mypy
	$(MAKE) test

# What is compared with is no dependency of the package, so it has an environment of its own. BENCH='--scale 0.1' passes
# options to bench/bench_peers.py.
bench: .venv-bench/.peers
	.venv-bench/bin/python bench/bench_peers.py $(BENCH)
	@for script in $(filter-out bench/bench_peers.py,$(wildcard bench/bench_*.py)); do \
	    echo "== $$script"; .venv-bench/bin/python "$$script" || exit 1; \
	done

# No stamp while something cannot be installed: `make bench` goes on without that, and tries again the next time.
.venv-bench/.peers: .venv-bench/.installed bench/install_peers.py
	@.venv-bench/bin/python bench/install_peers.py && touch $@ || true

.venv/.installed: WHAT := .[test]
.venv-bench/.installed: WHAT := .
.venv/.installed .venv-bench/.installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo 'make: expected Python 3.11 or later, got $(PYTHON); say PYTHON=/path/to/python3.11' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	    || { echo 'make: $(PYTHON) cannot make virtual environments; Debian: apt install python3-venv' >&2; exit 1; }
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --editable '$(WHAT)'
	@touch $@

clean:
	rm -rf .venv .venv-bench build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
