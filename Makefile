# The whole set-up, on a machine with Python 3.11 or newer, make and git.
#   make demo      the service on simulated data, in a browser
#   make test      every check and every test, Python, frontend and browser
#   make frontend  the dashboard's pages alone
#   make test-core the tests in CORE_TESTS, without checks, frontend and browser
# Another Python gets an environment of its own; the pages and what builds them are shared:
#   make test PYTHON=python3.13 VENV=.venv-3.13
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NPM := $(BIN)/python frontend/npm.py
MODULES := frontend/node_modules/.installed
PAGES := collector/web/dist/rl-stats.html
PAGE_SOURCES := $(shell find frontend -path frontend/node_modules -prune -o -type f -print)
# The core: everything without I/O, sessions, the connection to the exchange, and recordings from end to end.
CORE_TESTS := tests/protocol tests/facts tests/subscriptions tests/rawblocks tests/storage tests/observe tests/live \
  tests/exchange tests/session tests/simulation tests/test_architecture.py tests/test_config.py \
  tests/test_errors.py tests/service/test_recording.py
# 91x wants a checkpoint on every path, and 114 a list of our own functions; tests may poll, which 110 forbids.
ASYNC_OFF := ASYNC114,ASYNC910,ASYNC911,ASYNC912,ASYNC913

.PHONY: setup frontend demo test test-core check lock clean

setup: $(STAMP)

$(STAMP): requirements/develop.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; say which with: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
	  || { echo "Python's venv module is missing; on Debian and Ubuntu it is the package python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/develop.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@: > $@

frontend: $(PAGES)

# The environment brings npm and Node, but a new one is no reason to install again: another version of Node is.
$(MODULES): frontend/package-lock.json frontend/.npmrc requirements/frontend.txt | $(STAMP)
	$(NPM) ci --loglevel=error
	@: > $@

$(PAGES): $(MODULES) $(PAGE_SOURCES)
	$(NPM) run --silent build
	@touch $@

demo: setup frontend
	$(BIN)/collector demo

test: setup frontend check
	$(NPM) run --silent test
	$(BIN)/python -m pytest

test-core: setup
	$(BIN)/python -m pytest $(CORE_TESTS)

check: setup $(MODULES)
	$(NPM) run --silent lint
	$(NPM) run --silent typecheck
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell $$(git ls-files)
	$(BIN)/python -m tests.vocabulary
	$(BIN)/flake8-async --disable $(ASYNC_OFF) $$(git ls-files 'collector/*.py')
	$(BIN)/flake8-async --disable $(ASYNC_OFF),ASYNC110 $$(git ls-files 'tests/*.py' 'bench/*.py')
	$(BIN)/mypy
	$(BIN)/basedpyright --pythonpath $(BIN)/python

# Needs uv on the path. The files it writes name no download host.
lock:
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header requirements/runtime.in -o requirements/runtime.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header requirements/frontend.in -o requirements/frontend.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header -c requirements/runtime.txt -c requirements/frontend.txt requirements/develop.in -o requirements/develop.txt

clean:
	rm -rf $(VENV) .venv-* .demo frontend/node_modules collector/web/dist
