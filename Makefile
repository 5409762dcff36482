# Everything runs in .venv, which the first target makes; it needs only Python 3.11 or newer.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Debian packages that the tests need; installed only as root, and only what is missing.
APT_PACKAGES := chromium dcmtk dicom3tools munge orthanc orthanc-dicomweb slurm-client slurmctld slurmd
PATHS := src tests benchmarks scripts docs
# Two files of tests at a time; what a file's tests share is made once.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.PHONY: help demo test check docs bench experiments-small apt clean

help:
	@echo "make demo    simulate a study, segment it, show what was found"
	@echo "make test    run the tests"
	@echo "make check   format, lint, types, layers, tests and documentation"
	@echo "make docs    build the documentation into docs/_build/html"
	@echo "make bench   time import, simulation and segmentation"
	@echo "make experiments-small"
	@echo "             run the article's experiments, small, on simulated data (17 minutes on two cores)"
	@echo "make clean   remove the virtual environment and what was built"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; say where with PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# One stamp for each set of extras, so that the demo installs no developer's tools.
$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing mmocnet into $(VENV) (some minutes the first time) ..."
	$(PIP) -e '.[simulate]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing mmocnet and its developer's tools into $(VENV) (some minutes the first time) ..."
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: $(VENV)/.dev
	$(PIP) -e '.[dev,docs]'
	@touch $@

demo bench: export OMP_NUM_THREADS = $(shell nproc 2>/dev/null || echo 2)
demo bench: export MKL_NUM_THREADS = $(OMP_NUM_THREADS)
demo: $(VENV)/.demo
	@$(BIN)/python scripts/demo.py demo-output

apt:
	@scripts/apt.sh $(APT_PACKAGES)

test: $(VENV)/.dev apt
	$(PYTEST)

check: $(VENV)/.docs apt
	$(BIN)/ruff check $(PATHS)
	$(BIN)/ruff format --check $(PATHS)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST)
	$(BIN)/sphinx-build -q -n -W --keep-going docs docs/_build/html

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -q -n -W --keep-going docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run.py

# Slabs with more lesions than people have, so that a few subjects suffice to train on.
experiments-small: $(VENV)/.dev
	$(BIN)/mmocnet simulate -o experiments-small/simulated-slabs --subjects 15 --seed 31 --slab-mm 24 \
		--lesion-count 3 8 --lesion-free-share 0.15 --protocol clinical --images swi --workers 2
	$(BIN)/mmocnet experiment all experiments-small/simulated-slabs -o experiments-small/results \
		--preset small --workers 2 --threads 1 --device cpu

clean:
	rm -rf $(VENV) docs/_build docs/reference/generated demo-output build dist
