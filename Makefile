# Two commands are enough: `make run` runs the fleet, `make test` tests it. Both set themselves up.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready
KERNELS := generator/backtest/kernels
WARM := $(KERNELS)/__pycache__/.warm
DEMO_HOME ?= $(CURDIR)/var-demo
JOBS ?= 2
COMPOSE ?= $(shell docker compose version > /dev/null 2>&1 && echo docker compose || echo docker-compose)
GPU ?= $(shell if command -v nvidia-smi > /dev/null; then echo nvidia; elif [ -e /dev/kfd ]; then echo amd; else echo cpu; fi)
FILES ?= -f docker-compose.yml $(if $(filter nvidia,$(GPU)),,-f docker-compose.$(GPU).yml) $(OVERRIDE)
# Compose itself reads it only where no file is named.
OVERRIDE := $(addprefix -f ,$(wildcard docker-compose.override.y*ml))
REVISION := $(shell git rev-parse --short HEAD 2> /dev/null || echo unknown)
IMAGE_ARGS := --build-arg REVISION=$(REVISION)

.DEFAULT_GOAL := help
.PHONY: help setup run demo test test-all test-pythons test-docker lint format bench pictures soak fuzz space lock sbom image up down clean

help: ## Show these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 14

setup: $(STAMP) $(WARM) ## Make the virtual environment with the locked dependencies (fast when done)

$(STAMP): requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Model Fleet needs Python 3.11 or newer; name one with: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv \
	  || { echo "python3 cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "Installing the locked dependencies ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m compileall -q fleet state monitor generator standin cli notifier web
	@touch $@

# Beside the compiled kernels: each checkout has its own, also where it shares the environment.
$(WARM): $(STAMP) $(wildcard $(KERNELS)/*.py)
	@echo "Compiling the kernels of the local backtest ..."
	@rm -f $(KERNELS)/__pycache__/*.nb[ic]  # numba does not notice a change of a function that another file compiles in
	@$(BIN)/python -m generator.backtest.warm
	@mkdir -p $(@D) && touch $@

run: setup ## Run the fleet in the foreground until Ctrl-C
	@exec $(BIN)/python -m fleet

demo: setup ## Show a fleet at work, bounded, on the stand-in (under a minute)
	@exec $(BIN)/python -m cli.demo --home "$(DEMO_HOME)"

test: setup ## Run the tests on JOBS workers, without the long ones
	@$(BIN)/python -m pytest -n $(JOBS) -m "not slow"

test-all: setup ## Run all tests, the long ones too; what fails beside others is run once more alone
	@$(BIN)/python -m pytest -n $(JOBS) --durations=30 || { [ $$? = 1 ] \
	  && echo "Once more, alone, since a busy machine also fails a test:" \
	  && $(BIN)/python -m pytest --last-failed --last-failed-no-failures none -v; }

test-pythons: setup ## Run the unit tests on every other Python from 3.11 on that this machine has (NEWEST=1: on the newest)
	@$(BIN)/python -m tools.pythons $(if $(NEWEST),--newest)

test-docker: setup ## Run the tests that need a Docker Engine, on one of their own (as root)
	@FLEET_REQUIRE=docker,compose,haproxy $(BIN)/python -m pytest tests/docker

lint: setup ## Check style and types, and audit the locked packages where the data can be had
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m tools.audit requirements/runtime.txt

bench: setup ## Measure, and keep the figures in docs/benchmarks.md (ONLY="NAME ..." takes some; BASE=COMMIT beside it)
	@FLEET_BENCH_BASE=$(BASE) $(BIN)/python -m benchmarks $(ONLY)

pictures: setup ## Draw the pictures of README and docs from a run of the demonstration and of a fleet (needs Chromium)
	@$(BIN)/python -m cli.demo --home "$(DEMO_HOME)" && $(BIN)/python -m tools.demo_picture "$(DEMO_HOME)"
	@$(BIN)/python -m tools.pictures

soak: setup ## Let everything go wrong at once: kills, odd lines, a full disk, clock steps (DURATION=60s, KILLS=500, MODE=mining, MODE=lanes)
	@$(BIN)/python -m tests.soak $(MODE) --duration $(or $(DURATION),$(if $(KILLS),60m,60s)) $(if $(KILLS),--kills $(KILLS))

fuzz: setup ## Feed a million odd inputs (INPUTS=20000) to each reader: log, calls, state, Ollama, supervisord, heartbeat
	@$(BIN)/python -m tests.fuzz $(if $(INPUTS),--inputs $(INPUTS)) $(if $(SEED),--seed $(SEED))

space: setup ## Visit every state of a switch, with each flag of the policy alone and in pairs (an hour or more; SECONDS=60 bounds each)
	@$(BIN)/python -m tests.space $(if $(SECONDS),--seconds $(SECONDS)) $(if $(RUNGS),--rungs $(RUNGS))

format: setup ## Bring the code into form
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

lock: setup ## Lock the dependencies anew (needs uv); slim is what the container has without the local backtest
	@for group in runtime dev slim; do \
	  uv pip compile -q --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" \
	    --extra postgresql --extra notify --extra gpu --extra watch --extra web \
	    $$([ $$group = slim ] && echo -c requirements/runtime.txt || echo --extra backtest --extra dask) \
	    $$([ $$group = dev ] && echo --group dev) pyproject.toml -o requirements/$$group.txt; done

sbom: setup ## Write what the image is made of, build/sbom.json and build/sbom-slim.json (CycloneDX)
	@mkdir -p build
	@$(BIN)/python -W ignore -m cyclonedx_py requirements requirements/runtime.txt --pyproject pyproject.toml \
	  --output-reproducible --of JSON -o build/sbom.json
	@$(BIN)/python -W ignore -m cyclonedx_py requirements requirements/slim.txt --pyproject pyproject.toml \
	  --output-reproducible --of JSON -o build/sbom-slim.json

image: ## Build the images: model-fleet, model-fleet:slim and the log proxy (BUILD="--build-arg …" for docker build)
	@docker build $(BUILD) $(IMAGE_ARGS) -t model-fleet .
	@docker build $(BUILD) $(IMAGE_ARGS) --build-arg LOCK=slim -t model-fleet:slim .
	@docker build $(BUILD) -t model-fleet-log-proxy container/log-proxy

up: ## Start the Compose stack for this machine's GPU (FILES="-f …" names other files)
	@$(COMPOSE) $(FILES) up -d --build

down: ## Stop the Compose stack; its volumes stay
	@$(COMPOSE) $(FILES) down

clean: ## Remove what the targets made; the fleet's home stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build
