# Berth: `make demo` shows it, `make test` checks it. Both set up what is missing first.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python

.PHONY: setup demo test bench proof protos format clean

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

# Regenerate the stubs under */pb from proto/ (a test compares them).
protos: setup
	@$(PY) scripts/protos.py

format: setup
	@$(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix .

clean:
	rm -rf $(VENV) .setup-stamp .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache bench/out
