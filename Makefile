# What a person does with this project; `make help` lists it. POSIX sh and GNU make, nothing else is needed.

PYTHON ?= python3
VENV := .venv
SERVERS := .venv-servers
# xdist: two processes for each core of the smallest machine that we support, since most tests wait for processes; a
# file's tests stay together, for the servers that they share.
PYTEST_FLAGS ?= -n 4 --dist loadfile
MIN_COVERAGE := 90
# Of `make chaos` and `make failover`.
MINUTES ?= 3
SEED ?= 1
KILLS ?= 10

# A stamp is as new as the packages that were installed: a changed requirements file makes it old.
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev
SERVERS_STAMP := $(SERVERS)/.installed

BIN := $(VENV)/bin
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install servers up test check lint format chaos failover bench clean
.DELETE_ON_ERROR:

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

install: $(DEV_STAMP) ## virtualenv with everything that development needs

servers: $(SERVERS_STAMP) ## virtualenv of the embedded MongoDB and SQS

up: $(RUN_STAMP) $(SERVERS_STAMP) ## run the whole system on this machine (Ctrl-C stops it)
	@exec $(BIN)/python manage.py up

test: $(DEV_STAMP) $(SERVERS_STAMP) ## all tests (PYTEST_FLAGS adds options)
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

check: lint $(SERVERS_STAMP) ## what CI runs: lint, types, import contracts, tests with branch coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PYTEST_FLAGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=$(MIN_COVERAGE)

lint: $(DEV_STAMP) ## style, types and import contracts, without tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV_STAMP) ## put the code into its format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

chaos: $(DEV_STAMP) $(SERVERS_STAMP) ## faults at random, then a verdict (MINUTES=3 SEED=1)
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) --seed $(SEED)

bench: $(DEV_STAMP) $(SERVERS_STAMP) ## measure on the servers of a running `make up`, on a quiet machine; figures go to docs/performance.md
	$(BIN)/python manage.py benchmark --update docs/performance.md
	$(BIN)/python manage.py benchmark --scale 10000 --update docs/performance.md

failover: $(DEV_STAMP) $(SERVERS_STAMP) ## how long hand-overs take, as a table (KILLS=10 of each kind)
	$(BIN)/python -m tests.chaos.failover --kills $(KILLS)

clean: ## remove virtualenvs, caches and reports; .data (queues, messages, users) stays
	rm -rf $(VENV) $(SERVERS) staticfiles htmlcov .coverage .coverage.*
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The virtualenvs. Their python is a link to the system's, whose age says nothing: hence the order-only prerequisites.

define make_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "make: $(PYTHON) is missing or older than Python 3.11; install it, or name another: make PYTHON=python3.12 ..." >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		echo "make: $(PYTHON) cannot make virtualenvs; on Debian and Ubuntu: apt-get install python3-venv" >&2; \
		exit 1; }
	@echo "making the virtualenv $(1)"
	@$(PYTHON) -m venv $(1)
endef

$(BIN)/python:
	$(call make_venv,$(VENV))

$(SERVERS)/bin/python:
	$(call make_venv,$(SERVERS))

$(RUN_STAMP): requirements.txt | $(BIN)/python
	@echo "installing requirements.txt into $(VENV); this takes a minute"
	@$(BIN)/python $(PIP_INSTALL) -r requirements.txt
	@touch $@

$(DEV_STAMP): requirements-dev.txt $(RUN_STAMP) | $(BIN)/python
	@echo "installing requirements-dev.txt into $(VENV); this takes a minute"
	@$(BIN)/python $(PIP_INSTALL) -r requirements-dev.txt
	@touch $@

$(SERVERS_STAMP): requirements-servers.txt | $(SERVERS)/bin/python
	@echo "installing requirements-servers.txt into $(SERVERS); this takes a minute"
	@$(SERVERS)/bin/python $(PIP_INSTALL) -r requirements-servers.txt
	@touch $@
