# The targets that people use; `make help` lists them. They need only POSIX sh and GNU make.

PYTHON ?= python3
VENV := .venv
SERVERS := .venv-servers
# xdist: more processes than the two cores of the smallest machine that we support, as most tests wait for others. The
# tests of a file stay together, since they share servers; tests/support/division.py has the longest begin first.
PYTEST_FLAGS ?= -n 7 --dist loadfile
MIN_COVERAGE := 90
# Parameters of `make chaos` and `make failover`.
MINUTES ?= 3
SEED ?= 1
KILLS ?= 10

BIN := $(VENV)/bin
# Creates or repairs a virtualenv and installs what has changed; takes a moment if nothing has.
VIRTUALENV = $(PYTHON) queuesite/local/virtualenv.py
# The embedded MongoDB is built only for these versions of Python; production does not need it.
SERVERS_PYTHON ?= $(PYTHON) python3.13 python3.12 python3.11 python3
SERVERS_NEWEST := 3.13

.DEFAULT_GOAL := help
.PHONY: help python run install servers up test check alone lint lock docs screenshots site format chaos failover bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

python:
	@$(PYTHON) -c '' 2>/dev/null || { \
		echo "make: $(PYTHON) is missing; install it, or name another one: make PYTHON=python3.12 ..." >&2; exit 1; }

run: python
	@$(VIRTUALENV) $(VENV) requirements.txt

install: python ## install everything that development needs into .venv
	@$(VIRTUALENV) $(VENV) requirements-dev.txt

servers: python ## install the embedded MongoDB and SQS into .venv-servers
	@$(VIRTUALENV) $(SERVERS) requirements-servers.txt --newest $(SERVERS_NEWEST) $(SERVERS_PYTHON:%=--python %)

# Installing takes minutes, so check first whether the port is free.
up: python ## run the whole system on this machine (Ctrl-C stops it)
	@test -e $(SERVERS)/.installed || $(PYTHON) -m queuesite.local.ports
	@$(MAKE) --no-print-directory run servers
	@exec $(BIN)/python manage.py up

test: install servers ## run all tests but those of minutes, which `make check` adds (PYTEST_FLAGS replaces the options)
	$(BIN)/python -m pytest $(PYTEST_FLAGS) -m "not long" --hypothesis-profile quick

check: lint servers ## run what CI runs: lint, types, import contracts, tests with branch coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --cache-clear $(PYTEST_FLAGS) || { test $$? = 1 && $(MAKE) --no-print-directory alone; }
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=$(MIN_COVERAGE)

# Two cores that are shared with others may fail a test that is right. The log has both runs.
alone:
	@echo; echo "What failed beside other tests runs once more, alone. If it passes now it is flaky: a defect, to be mended."
	$(BIN)/coverage run -m pytest --last-failed --last-failed-no-failures none --maxfail 1

lint: install ## check style, types, import contracts and the lock file, without tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/check_lock.py
	$(BIN)/hadolint --failure-threshold warning Dockerfile

lock: install ## rewrite the lock files of the image from requirements-postgres.txt and requirements-build.txt
	for name in requirements-postgres:requirements requirements-build:requirements-build; do \
		UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
			--generate-hashes --no-annotate $${name%:*}.txt --output-file $${name#*:}.lock || exit; \
	done

docs: install ## write the reference in README.md and docs/reference.md from the code
	PYTHONPATH=. $(BIN)/python .ci/write_docs.py
	$(BIN)/python .ci/compile_words.py

screenshots: install servers ## take the pictures of the docs, from a shop that runs for three minutes (needs chromium)
	$(BIN)/python -m tests.screenshots

site: install ## build the docs as a site into site/ (mkdocs serve shows it while you write)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

format: install ## format the code and apply ruff's automatic fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

chaos: install servers ## inject faults at random, then print a verdict (MINUTES=3 SEED=1)
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) --seed $(SEED)

bench: install servers ## measure on the servers of a running `make up`, on a quiet machine, and update docs/performance.md
	$(BIN)/python manage.py benchmark --update docs/performance.md
	$(BIN)/python manage.py benchmark --idle --update docs/performance.md
	$(BIN)/python manage.py benchmark --scale 10000 --update docs/performance.md

failover: install servers ## measure how long hand-overs take and print a table (KILLS=10 of each kind)
	$(BIN)/python -m tests.chaos.failover --kills $(KILLS)

clean: ## remove virtualenvs, caches and reports, but keep .data (queues, messages, users)
	rm -rf $(VENV) $(VENV).lock $(SERVERS) $(SERVERS).lock staticfiles site htmlcov .coverage .coverage.*
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
