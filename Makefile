# make run: everything from nothing to recommendations. make test: linters, types, tests.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run install test test-slow requirements clean

run: install
	$(BIN)/brmrs sample data/sample
	$(BIN)/brmrs run -c configs/sample.yaml

install: .venv/installed

.venv/installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "brmrs needs Python 3.11 to 3.13; name one: make PYTHON=python3.12"; exit 2; }
	@echo "installing about 6 GB of packages into .venv; this takes a few minutes"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -m "not slow"

test-slow: install
	$(BIN)/pytest -m slow

# After a change of the dependencies in pyproject.toml; needs uv.
requirements:
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-header --python-version 3.11 --extra pipeline --extra dev --quiet pyproject.toml -o requirements.txt

clean:
	rm -rf .venv artifacts data/sample .prefect
