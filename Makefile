# Every target does its own set-up; a second run finds it done. PYTHON names another interpreter.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo demo-tab test lint format types unit replayed pyodide pyodide-halves pyodide-stores pyodide-others e2e bench clean

BIN := .venv/bin
NODE = $(or $(wildcard node_modules/.bin/node),node)
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
# Of the engine's tests those that move little virtual time: idle turns are slow on a browser's event loop.
TESTS = tests/unit tests/conformance tests/browser \
	$(addprefix tests/engine/test_,$(addsuffix .py,connections due_while_suspending failures limits steps stops suspension telling versions webhooks))
# Of those in Chromium what there is time for in `make test`: all that happens to a tab with a run, and the dashboard.
IN_CHROMIUM = e2e
test: IN_CHROMIUM = $(addprefix e2e/test_,$(addsuffix .py,random runs_element dashboard_server tab policy quota move demo))
# One pytest a core; the slow tests are handed out one by one.
AT_ONCE = -n auto --maxprocesses 4 --maxschedchunk 1
# On CPython one more: many wait for processes.
unit: AT_ONCE = -n $$(expr $$(getconf _NPROCESSORS_ONLN || echo 2) + 1) --maxprocesses 5 --maxschedchunk 1
SITE := .cache/pyodide/site
PYTHON_READY := .venv/.ready
NODE_READY := node_modules/.ready
PYODIDE_READY := $(SITE)/.ready

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

setup: $(PYTHON_READY) $(PYODIDE_READY) ## Create .venv, node_modules and .cache

demo: $(PYTHON_READY) ## Run the example of the README, then serve it for a browser tab
	$(BIN)/python examples/invoices/demo.py
	@if [ -t 0 ] && [ -t 1 ]; then $(MAKE) --no-print-directory demo-tab; \
	else printf '\nThe same job in a browser tab: make demo-tab\n'; fi

demo-tab: $(PYTHON_READY) $(NODE_READY) ## Build and serve the demo of the browser tab (ARGS="--port 8001")
	@$(BIN)/python web/demo/serve.py $(ARGS)

test: lint types unit replayed pyodide-halves e2e ## Lint, types, and all tests, on CPython, inside Pyodide and in Chromium

lint: $(PYTHON_READY) ## Check style and banned imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(PYTHON_READY) ## Put style in order
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

types: $(PYTHON_READY) $(NODE_READY) ## Check types, of Python and of JavaScript; write web/types
	$(BIN)/mypy
	$(NODE) node_modules/typescript/bin/tsc --project .

unit: $(PYTHON_READY) $(NODE_READY) ## Run the tests on CPython (ARGS="-k name")
	$(BIN)/pytest $(AT_ONCE) $(ARGS)

replayed: $(PYTHON_READY) ## Run the engine's tests again, each step followed by a replay from the top
	ALWAYS_REPLAY=1 $(BIN)/pytest $(AT_ONCE) -q tests/engine -k "memory and not scenario" $(ARGS)

pyodide: $(PYODIDE_READY) ## Run the tests inside Pyodide on Node (TESTS=path ARGS="-k name")
	$(NODE) tests/pyodide/run.mjs $(TESTS) $(ARGS)

# The two halves of `pyodide` side by side: one is a single thread.
pyodide-halves: $(PYODIDE_READY)
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target pyodide-stores pyodide-others

pyodide-stores pyodide-others:
	$(NODE) tests/pyodide/run.mjs $(if $(findstring stores,$@),tests/conformance,$(filter-out tests/conformance,$(TESTS))) $(ARGS)

e2e: $(PYODIDE_READY) ## Run all tests in a real Chromium, which Debian gets installed (ARGS="-k name")
	@scripts/need-chromium
	$(BIN)/pytest $(IN_CHROMIUM) $(AT_ONCE) $(ARGS)

bench: $(PYTHON_READY) ## Measure
	$(BIN)/python -m benchmarks

clean: ## Remove whatever set-up and tests have made
	rm -rf .venv .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache node_modules web/dashboard/vendor build dist
	find . -name __pycache__ -prune -exec rm -rf {} +

$(PYTHON_READY): pyproject.toml scripts/make-venv
	@$(BIN)/python -c '' 2>/dev/null || scripts/make-venv .venv
	$(PIP) install --editable '.[all,dev]'
	@touch $@

$(NODE_READY): package.json package-lock.json .npmrc scripts/vendor.py | $(PYTHON_READY)
	npm ci
	$(BIN)/python scripts/vendor.py
	@touch $@

# Wheels for Pyodide's Python, not for ours: pure Python only, and exactly those listed.
$(PYODIDE_READY): tests/pyodide/requirements.txt | $(PYTHON_READY) $(NODE_READY)
	rm -rf .cache/pyodide
	$(PIP) install --target $(SITE) --no-deps --no-compile --only-binary :all: --platform any \
		--python-version 3.14 --ignore-requires-python --requirement tests/pyodide/requirements.txt
	@touch $@
