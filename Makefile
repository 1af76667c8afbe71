# Berth: `make demo` shows it, `make test` checks it. Both set up what is missing first.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python

.PHONY: setup demo test bench proof mutants protos format clean

setup:
	@scripts/setup

demo: setup
	@$(PY) -m demo

test: setup
	@scripts/test

bench: setup
	@$(PY) -m bench

proof: setup
	@$(PY) -m tests.proof

# What no test notices: `make mutants MODULES=berth/base/operations.py N=20 SEED=1 TESTS=…`.
mutants: setup
	@test -n "$(MODULES)" || { echo "make mutants needs MODULES=PATH…, such as MODULES=berth/base/operations.py" >&2; exit 2; }
	@$(PY) -m tests.mutants $(MODULES) --number $(or $(N),20) --seed $(or $(SEED),0) --tests $(TESTS)

# Regenerate the stubs under */pb from proto/ (a test compares them).
protos: setup
	@$(PY) scripts/protos.py

format: setup
	@$(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix .

clean:
	rm -rf $(VENV) .setup-stamp .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache bench/out
