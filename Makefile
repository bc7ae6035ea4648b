# The environment is .venv. PYTHON names the interpreter that makes it (3.11 or newer), ARGS go to the program,
# JOBS is how many processes share the tests.
PYTHON ?= python3
ARGS ?=
JOBS ?= 2
BENCH ?= engine quality gateway retention web
BIN := .venv/bin

.PHONY: help run test slow packages setup lint fix soak clis docs bench web

help:  ## say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' Makefile

run:  ## set up what is missing, then serve page and API on http://127.0.0.1:8000
	@PYTHON="$(PYTHON)" setup/environment.sh runtime
	@exec $(BIN)/glm up $(ARGS)

test: packages  ## run the tests, those on a real browser and PostgreSQL too
	@exec $(BIN)/pytest -n $(JOBS) --dist loadfile -m "not slow" $(ARGS)

slow: packages  ## run the tests that take longer; CI runs these too
	@exec $(BIN)/pytest -n $(JOBS) --dist loadfile -m slow $(ARGS)

packages: setup
	@setup/packages.sh
	@$(BIN)/python setup/sdks.py > /dev/null

setup:  ## make .venv with everything that development needs
	@PYTHON="$(PYTHON)" setup/environment.sh test

lint: setup  ## formatting, lint, types, and what the tree may hold
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python setup/check_tree.py

fix: setup  ## repair what can be repaired by itself
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

soak: setup  ## the reliability tests at their full counts: hours
	@OPENGLM_SOAK=1 $(BIN)/pytest tests/maas/reliability tests/maas/console/test_fuzz.py tests/chat/test_fuzz.py $(ARGS)

clis: setup  ## agents and JS SDKs in front of the platform (needs Node; fetches 1.2 GB)
	@setup/clis.sh
	@exec $(BIN)/pytest tests/clis -m clis $(ARGS)

docs: setup  ## check what the documents say: links, commands and their flags, make targets, code
	@$(BIN)/python setup/check_docs.py

bench: setup  ## our figures beside a peer's: all benches one after another, or BENCH=gateway alone
	@set -e; for bench in $(BENCH); do echo "== $$bench" >&2; $(BIN)/python benches/$$bench.py $(ARGS); done

web:  ## build the page from web/ into openglm/static (needs Node)
	@web/build.sh
