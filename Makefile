# make demo   sets up .venv where it is missing and compares eight models on handwritten digits
# make test   the same set-up with the development tools, then format, lint, types and tests
#
# Both need Python 3.11 or newer and pip, nothing else. A set-up is repeated only when what it reads has changed.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
REPORT := reports/digits
MODELS := vae:prior=mixture dcgan realnvp pixelcnn rbm flow_matching ddpm gmm
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test lint docs-table clean
.DEFAULT_GOAL := demo

demo: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/exnihilo compare $(MODELS) --data digits --seconds 45 --threads 1 --out $(REPORT)
	@echo
	@echo "The report: $(CURDIR)/$(REPORT)/report.html"

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs-table: .venv/installed-dev
	$(BIN)/python scripts/models_table.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "exnihilo needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

.venv/installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@ .venv/installed
