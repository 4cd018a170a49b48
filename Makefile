# make run: everything from nothing to recommendations. make test: linters, types, tests.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run install test test-slow docs requirements clean

run: install
	$(BIN)/brmrs sample data/sample
	$(BIN)/brmrs run -c configs/sample.yaml

install: .venv/installed

.venv/installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "brmrs needs Python 3.11 to 3.13; name one: make PYTHON=python3.12"; exit 2; }
	@echo "installing about 7 GB of packages into .venv; this takes a few minutes"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

test-slow: install
	$(BIN)/pytest -m slow

# The documentation site, in site/. A broken link is an error. An environment of its own: 170 MB.
docs: .venv-docs/installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet
	@echo "open site/index.html, or: .venv-docs/bin/mkdocs serve"

.venv-docs/installed: requirements-docs.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --no-deps --require-hashes -r requirements-docs.txt
	@touch $@

# After a change of the dependencies in pyproject.toml; needs uv.
COMPILE := uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
  --no-header --python-version 3.11 --quiet
requirements:
	$(COMPILE) --extra pipeline --extra serve --extra s3 --extra ray --extra dev pyproject.toml -o requirements.txt
	$(COMPILE) --group pyproject.toml:docs -o requirements-docs.txt

clean:
	rm -rf .venv .venv-docs site artifacts data/sample .prefect
