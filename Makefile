# Everything one does here, a target each; `make` alone lists them.
# PYTHON is the interpreter to start from (3.11 or newer), VENV the environment that is made with it.

PYTHON ?= python3
VENV ?= .venv
BENCH_VENV ?= .venv-bench
BIN = $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo examples test quick lint types ulp stress bench clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/demo.stamp  ## train a digit classifier through @jitgrad.trace
	$(BIN)/python examples/digits.py

examples: $(VENV)/test.stamp  ## run every example
	@set -e; for example in examples/*.py; do echo "== $$example"; $(BIN)/python $$example; done

test: $(VENV)/test.stamp  ## run the whole test suite
	$(BIN)/python -m pytest

quick: $(VENV)/test.stamp  ## run the fast tests, stop at the first failure: the inner loop
	$(BIN)/python -m pytest -m "not slow" --exitfirst

lint: $(VENV)/test.stamp  ## check style with ruff
	$(BIN)/ruff check .

types: $(VENV)/test.stamp  ## check ir and codegen with mypy --strict
	$(BIN)/mypy -p jitgrad.ir -p jitgrad.codegen

ulp: $(VENV)/test.stamp  ## measure the vector mathematics at every float32 (ARGS="exp log --every 257")
	$(BIN)/python -m tools.ulp $(ARGS)

stress: $(VENV)/test.stamp  ## fork a thousand times and call ten thousand times on threads (ARGS="--forks 100")
	$(BIN)/python -m tools.stress $(ARGS)

bench: $(BENCH_VENV)/bench.stamp  ## compare with torch, jax and numba (ARGS="--only mlp --rounds 10")
	$(BENCH_VENV)/bin/python -m benchmarks.run $(ARGS)

clean:  ## remove environments, builds, caches and what examples wrote
	rm -rf $(VENV) $(BENCH_VENV) build dist out *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment is made anew when what decides its contents has changed.
$(VENV)/%.stamp: pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jitgrad needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	@echo "installing jitgrad[$*] into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

$(BENCH_VENV)/bench.stamp: pyproject.toml setup.py benchmarks/requirements.txt
	@echo "installing jitgrad and its peers into $(BENCH_VENV)"
	@$(PYTHON) -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt --editable .
	@touch $@
