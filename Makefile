# Everything happens in .venv, which is made with the machine's own python3.
PYTHON := .venv/bin/python
STAMP := .venv/.installed
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test check bench clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

install: $(STAMP)  ## make the environment in .venv; the targets below do it where it is missing or old

demo: $(STAMP)  ## train, judge and save a tagger on the embedded example, offline
	@.venv/bin/cotag demo $(ARGS)

test: $(STAMP)  ## run all tests; ARGS="-k name" chooses some
	@OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --dist worksteal $(ARGS)

check: $(STAMP)  ## style, types and architecture
	@.venv/bin/ruff check --quiet
	@.venv/bin/ruff format --quiet --check
	@.venv/bin/mypy --no-error-summary
	@$(PYTHON) -m pytest -q tests/test_architecture.py
	@echo "style, types and architecture are in order"

bench: $(STAMP)  ## run every script of benchmarks/ with its defaults
	@failed=; for script in benchmarks/*.py; do \
		test -e "$$script" || continue; \
		echo "== $$script"; \
		$(PYTHON) "$$script" || failed="$$failed $$script"; \
	done; \
	test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

clean:  ## remove what the commands made, but neither .venv nor runs/
	@rm -rf build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	@find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml
	@command -v python3 >/dev/null || { echo "python3 was not found; install Python 3.11 or newer" >&2; exit 1; }
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$$(python3 --version) is too old; put Python 3.11 or newer first on the PATH as python3" >&2; exit 1; }
	@echo "Installing into .venv (the first time some minutes, about 6 GB)" >&2
	@python3 -m venv .venv
	@if test -t 2; then quiet=; else quiet=-qq; fi; $(PYTHON) -m pip install $$quiet -e ".[dev]"
	@touch $@
