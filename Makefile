# Two commands on a bare machine: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
# What a failed recipe has begun, such as the Python of a .venv without pip, is not done.
.DELETE_ON_ERROR:
.PHONY: help install demo format lint type test test-all bench results clean

help:  ## list these verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

install: .venv/dev  ## make .venv with everything for development

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

.venv/bin/lab: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/dev: .venv/bin/lab
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@

demo: .venv/bin/lab  ## train a VAE on the embedded digits, no download
	$(BIN)/lab fit --config experiments/vae_digits.yaml

format: .venv/dev  ## rewrite the code in the house's style
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

lint: .venv/dev  ## look for mistakes of style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: .venv/dev  ## check the types, strictly
	$(BIN)/mypy

test: .venv/dev  ## run the fast tests
	$(BIN)/pytest -n auto --dist loadfile

test-all: test  ## run every test, the slow ones too, which use both cores by themselves
	$(BIN)/pytest -m slow

bench: .venv/dev  ## measure training and evaluation against bare PyTorch and the peers
	$(BIN)/python -m tests.bench

results: .venv/bin/lab  ## train what the published table lacks, and write RESULTS.md and its figures
	$(BIN)/lab results

clean:  ## remove what the tools left behind, but no run and no data
	rm -rf .venv .bench .pytest_cache .mypy_cache .ruff_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
