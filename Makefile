# Two commands do all set-up on a fresh machine with Python 3.11-3.13, git and make:
#
#   make demo     a magnet link to a booted Mixture-of-Experts model, offline, in under half a minute
#   make test     every test
#
# torch from PyPI on Linux brings CUDA, some gigabytes. The CPU build is 200 MB:
#
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
# One test more at a time than there are cores: tests of the network mostly wait.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(4, os.cpu_count() + 1))')
BIN = $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: demo test coverage soak mutate dead lint bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/.boot
	@$(BIN)/magnetar demo

test: $(VENV)/.test
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(PYTEST_ARGS)

coverage: $(VENV)/.test
	@$(MAKE) --no-print-directory test PYTEST_ARGS="--cov --cov-report=term --cov-report=html $(PYTEST_ARGS)"
	@echo "Line by line: build/coverage/html/index.html"

# RUNS=10: the suite so many times, with little priority beside two busy loops, on a disk and in memory by turns.
soak: $(VENV)/.test
	@.ci/soak $(RUNS)

# MODULES="plan schedule": what no test notices when it is changed, in the modules with these words in their names.
mutate: $(VENV)/.test
	@$(BIN)/python .ci/mutate.py $(MODULES)

# What nothing names. Most of what it lists is called by a library.
dead: $(VENV)/.test
	@$(BIN)/vulture

lint: $(VENV)/.test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy tests/magnetar/typed_use.py
	@$(BIN)/lint-imports

bench: $(VENV)/.test
	@echo "This takes half an hour or more on a quiet machine, and up to 30 GB of disk below build/ and the temporary folder."
	@for script in $(filter-out benchmarks/measuring.py,$(wildcard benchmarks/*.py)); do echo "== $$script"; $(BIN)/python $$script || exit 1; done
	@rm -rf build/benchmark

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
		|| { echo "Magnetar needs Python 3.11, 3.12 or 3.13: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.boot: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Setting up $(VENV) once. To download: torch (200 MB for the CPU build; on Linux some gigabytes"
	@echo "with CUDA unless you give TORCH_INDEX, see the Makefile), and about 60 MB of other packages."
	$(PIP_INSTALL) --editable '.[boot]'
	@touch $@

$(VENV)/.test: $(VENV)/.boot
	@echo "Adding what the tests need, other runtimes among it: about 250 MB more."
	$(PIP_INSTALL) --editable '.[boot,test]'
	@touch $@
