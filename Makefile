# Two commands are enough: `make run` runs the fleet, `make test` tests it. Both set themselves up.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready
DEMO_HOME ?= $(CURDIR)/var-demo

.DEFAULT_GOAL := help
.PHONY: help setup run demo test lint format bench soak lock clean

help: ## Show these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 14

setup: $(STAMP) ## Make the virtual environment with the locked dependencies (fast when done)

$(STAMP): requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Model Fleet needs Python 3.11 or newer; name one with: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv \
	  || { echo "python3 cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "Installing the locked dependencies ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m compileall -q fleet state monitor generator standin cli
	@echo "Compiling the kernels of the local backtest ..."
	@$(BIN)/python -m generator.backtest.warm
	@touch $@

run: setup ## Run the fleet in the foreground until Ctrl-C
	@exec $(BIN)/python -m fleet

demo: setup ## Show a fleet at work, bounded, on the stand-in (under a minute)
	@exec $(BIN)/python -m cli.demo --home "$(DEMO_HOME)"

test: setup ## Run the tests
	@$(BIN)/python -m pytest

lint: setup ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: setup ## Measure, and keep the figures in docs/benchmarks.md (ONLY="NAME ..." takes some)
	@$(BIN)/python -m benchmarks $(ONLY)

format: setup ## Bring the code into form
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

lock: setup ## Lock the dependencies anew (needs uv)
	@for group in runtime dev; do \
	  uv pip compile -q --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" \
	    --extra backtest --extra postgresql $$([ $$group = dev ] && echo --group dev) pyproject.toml -o requirements/$$group.txt; done

clean: ## Remove what the targets made; the fleet's home stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build
