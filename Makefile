# Two commands do everything on a fresh machine: `make demo` and `make test`.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
NETWORK ?= simulated
VENV := .venv
RUN := PYTHONPATH=. $(VENV)/bin/python
READY := $(VENV)/.ready
# More processes than cores, since tests mostly wait.
PYTEST := $(RUN) -m pytest -n 3 --dist loadscope

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 16

.PHONY: setup
setup: $(READY) ## the environment in .venv, from the hashed lock file; everything below uses it

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'Fulgurite needs Python 3.11 or later: install it, or say make PYTHON=/path/to/python3.11'; exit 1; }
	@echo 'installing the environment into $(VENV) (once) …'
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV) \
	  || { echo 'python3 -m venv failed: install it (Debian: apt-get install python3-venv)'; exit 1; }
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

.PHONY: demo
demo: setup ## a day in the life; NETWORK=regtest for the real daemons
	@$(RUN) -m devnet.demo --network $(NETWORK)

.PHONY: test
test: setup ## lint, types, structure, and every test that needs no daemon but Temporal
	@$(MAKE) --no-print-directory lint
	@$(RUN) -m devnet.daemons temporal
	@$(PYTEST) -m 'not regtest'

.PHONY: test-regtest
test-regtest: setup ## the same scenarios on the real daemons, built once and cached
	@$(RUN) -m devnet.daemons temporal btcd btcctl lnd lncli lnd-descriptors loopd loop-descriptors poold pool-descriptors temporal-server temporal-sql
	@$(PYTEST) -m regtest

.PHONY: up
up: setup ## a network and a worker to play with, left running; NETWORK=regtest for real ones
	@$(RUN) -m devnet.up --network $(NETWORK)

.PHONY: down
down: setup ## ends what `make up` left, also after a crash
	@$(RUN) -m devnet.down

.PHONY: lint
lint: setup ## ruff, mypy --strict, one-way imports, and that everything generated is fresh
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check --quiet .
	@$(VENV)/bin/mypy --no-error-summary .
	@PYTHONPATH=. $(VENV)/bin/lint-imports --no-cache > .imports.log || { cat .imports.log; exit 1; }
	@PATH=$(CURDIR)/$(VENV)/bin:$$PATH $(RUN) -m protos.generate --check
	@$(RUN) -m starter.schemas --check
	@$(RUN) -m docs.generate --check
	@$(RUN) -m mutants --check

.PHONY: bench
bench: setup ## the figures of docs/performance.md, as ratios within one run
	@$(RUN) -m bench

.PHONY: mutants
mutants: setup ## puts each known defect back and shows which test notices
	@$(RUN) -m mutants

.PHONY: fuzz
fuzz: setup ## a coverage-guided fuzzer at the webhook's URL checker and signatures
	@$(RUN) -m fuzz

.PHONY: protos
protos: setup ## regenerates the code beside the .proto files
	@PATH=$(CURDIR)/$(VENV)/bin:$$PATH $(RUN) -m protos.generate

.PHONY: docs
docs: setup ## regenerates schemas, state tables and diagrams
	@$(RUN) -m starter.schemas
	@$(RUN) -m docs.generate

.PHONY: lock
lock: setup ## pins the dependencies anew
	@$(VENV)/bin/python -m pip install --quiet uv
	@$(VENV)/bin/uv pip compile -q --upgrade --universal --generate-hashes --no-emit-index-url --all-extras pyproject.toml -o requirements.lock
	@$(VENV)/bin/uv pip compile -q --universal --generate-hashes --no-emit-index-url -c requirements.lock pyproject.toml -o requirements.runtime.lock
	@echo hatchling | $(VENV)/bin/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate -c requirements.lock - -o requirements.build.lock

.PHONY: clean
clean: ## removes the environment and every cache inside the checkout; daemons stay cached
	@rm -rf $(VENV) .devnet build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
