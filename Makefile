# `make help` says what there is.
PYTHON ?= python3
BIN := .venv/bin
SETUP := .venv/.ready
PLOTS := .venv/.ready-bench
LOCK := $(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --no-emit-index-url --no-header pyproject.toml
PATHS := millstream app agents models tables tests bench docs/api.py

.DEFAULT_GOAL := help
.PHONY: help setup components run test smoke check lint types format lock chaos soak bench bench-full bench-windows bench-state bench-latency bench-scale bench-growth bench-http bench-profile docs clean

help: ## say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

setup: $(SETUP) ## make the environment in .venv

$(SETUP): pyproject.toml requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit("Millstream needs Python 3.11 to 3.13, this is " + sys.version.split()[0] + ": make PYTHON=python3.11 …") if not (3, 11) <= sys.version_info[:2] <= (3, 13) else None'
	@echo "Making the environment in .venv (once)…"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

components: ## install what the tests use from Debian (Chromium, Prometheus, wrk)
	@sh tests/components.sh

run: $(SETUP) ## start Kafka, a worker and a source of events, until Ctrl-C
	@$(BIN)/millstream run

test: $(SETUP) lint types ## lint, types, and all tests that this machine can run
	@$(BIN)/pytest

smoke: $(SETUP) ## `make run` in a clean environment, and every curl of README.md (half a minute)
	@$(BIN)/pytest tests/smoke

check: test ## what CI runs after `make components`

lint: $(SETUP) ## style, and a scan for what is not safe
	@$(BIN)/ruff check $(PATHS)
	@$(BIN)/ruff format --check $(PATHS)
	@$(BIN)/bandit -q -c pyproject.toml -r millstream app agents models tables

types: $(SETUP) ## mypy, strict
	@$(BIN)/mypy

format: $(SETUP) ## mend the style where it can be
	@$(BIN)/ruff check --fix-only $(PATHS)
	@$(BIN)/ruff format $(PATHS)

docs: $(SETUP) ## write docs/metrics.md, and the pages of the public API into build/api
	@$(BIN)/python -m app.document_metrics > docs/metrics.md
	@$(BIN)/python docs/api.py build/api

lock: $(SETUP) ## pin the dependencies anew, with hashes
	@$(LOCK) -o requirements.lock
	@$(LOCK) --extra dev -o requirements-dev.lock
	@$(subst pyproject.toml,bench/peers/requirements.in,$(LOCK)) --python-version 3.11 -o bench/peers/requirements.txt
	@$(LOCK) --extra dev --extra bench -c requirements-dev.lock -o requirements-bench.lock

chaos: $(SETUP) ## every fault that the service must survive, one test each (half an hour)
	@$(BIN)/pytest tests/chaos tests/framework/chaos -s -m "not soak"

soak: $(SETUP) ## ten minutes of steady load, with a rebalance a minute
	@$(BIN)/pytest tests/chaos -s -m soak

bench: $(SETUP) ## drain rate beside Kafka Streams, a loop by hand and plain Faust (some minutes)
	@$(BIN)/python -m bench

bench-full: $(SETUP) ## the same with all peers and both workloads, medians of three (half an hour)
	@$(BIN)/python -m bench --every --workload activity --workload ads --repeat 3 --events 1000000 --slow-events 40000

bench-windows: $(SETUP) ## each kind of window that closes, beside Kafka Streams (a quarter of an hour)
	@$(BIN)/python -m bench --workload tumbling --workload hopping --workload sessions --workload tumbling-dense --workload hopping-dense --repeat 3 --events 1500000

bench-state: $(SETUP) ## restore rate of a state log
	@$(BIN)/python -m bench.restore

$(PLOTS): $(SETUP) requirements-bench.lock
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@touch $@

bench-latency: $(PLOTS) ## latency at 10 to 90 % of a worker's capacity
	@$(BIN)/python -m bench.latency

bench-scale: $(PLOTS) ## CPU per event and capacity of 1, 2 and 4 workers (half an hour)
	@$(BIN)/python -m bench.scale

bench-growth: $(PLOTS) ## throughput and memory at 1 to 20 million live ids, and their restore (ten minutes)
	@$(BIN)/python -m bench.growth

bench-http: $(PLOTS) ## the views under half of a worker's capacity; needs wrk
	@$(BIN)/python -m bench.http

bench-profile: $(PLOTS) ## where a worker's CPU time goes, by stage
	@$(BIN)/python -m bench.profile

clean: ## remove the environment and all state
	@if [ -x $(BIN)/millstream ]; then $(BIN)/millstream kafka down; fi
	@rm -rf .venv .millstream build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -prune -exec rm -rf {} +
