# Everything runs in .venv, which each target sets up itself.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test lint format types bench docs coverage fuzz mutation gpu-check wheel clean

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt packages/davsp-testbed-smol/pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "davsp needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' ./packages/davsp-testbed-smol
	touch .venv/.ready

demo: setup
	$(BIN)/davsp demo --out runs/demo

# A process for each core, each with one thread.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m bench

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

fuzz: setup
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m tests.fuzz

coverage: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --cov --cov-report=term:skip-covered --cov-report=html

mutation: setup
	$(BIN)/python -m tests.mutation

# Where WHEELS names a folder of wheels, they are installed beside the machine's own torch and transformers, without a
# network; else what is checked is .venv. ARGS are those of `python -m tests.gpu`.
ifdef WHEELS
gpu-check:
	$(PYTHON) -m venv --without-pip .venv-gpu
	$(PYTHON) -c 'import site; print(*site.getsitepackages(), sep="\n")' \
		> $$(.venv-gpu/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/machine.pth
	$(PYTHON) -m pip --python .venv-gpu/bin/python install --quiet --disable-pip-version-check --no-index \
		--find-links $(WHEELS) -e '.[eval]' beartype pytest
	.venv-gpu/bin/python -m tests.gpu $(ARGS)
else
gpu-check: setup
	$(BIN)/python -m tests.gpu $(ARGS)
endif

wheel: setup
	$(BIN)/python -m build --wheel --no-isolation

clean:
	rm -rf .venv .venv-gpu dist runs site .coverage .mypy_cache .ruff_cache .pytest_cache
