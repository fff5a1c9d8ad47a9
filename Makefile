# `make help` lists the targets. CI runs them too.
DATASET ?= ml-100k
OUTPUT ?= outputs/$(DATASET)
RECIPE ?= training/recipes/$(DATASET:.txt=).yaml
OPTIONS ?=
WORKERS ?= 2
VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/installed
OLDEST := .venv-min
PEERS := .venv-peers
CORNAC := .venv-cornac
MODEL ?= $(patsubst %/config.json,%,$(firstword $(shell ls -t outputs/*/config.json 2>/dev/null)))

# OpenMP threads spin briefly before they sleep: nearly as fast in training as spinning for long, and several times as
# fast if other work occupies a core.
export GOMP_SPINCOUNT ?= 1000

.DEFAULT_GOAL := help
.PHONY: help install run new-users evaluate show demo bench bench-gpu bench-gpu-data bench-peers bench-table test test-all test-wheel test-min \
	test-versions lock stress check format clean

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  DATASET=ml-latest-small chooses another release, OPTIONS='--seed 1' overrides keys of its recipe."

# torch first and pinned: as a dependency of another package, pip may choose a build with gigabytes of CUDA.
$(INSTALLED): pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --constraint constraints.txt torch
	$(PYTHON) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

install: $(INSTALLED)  ## create .venv with the pinned versions

run: $(INSTALLED)  ## download MovieLens, train, evaluate, export to outputs/, and recommend from there
	$(PYTHON) training/train.py $(RECIPE) --dataset $(DATASET) --output_dir $(OUTPUT) $(OPTIONS)
	$(PYTHON) training/evaluate.py $(OUTPUT) --dataset $(DATASET)
	$(PYTHON) -m examples.show $(OUTPUT) --dataset $(DATASET)

# For both small releases, unless DATASET names one.
new-users: $(INSTALLED)  ## train without a fifth of the users, and print what they get who name a few movies
	@set -e; for name in $(if $(filter file,$(origin DATASET)),ml-100k ml-latest-small,$(DATASET)); do \
	$(PYTHON) training/train.py training/recipes/$${name%.txt}.yaml --dataset $$name \
		--output_dir outputs/$$name-new-users --held_out_users 0.2 $(OPTIONS); \
	$(PYTHON) training/evaluate.py outputs/$$name-new-users; done

evaluate: $(INSTALLED)  ## evaluate the trained model of DATASET again
	$(PYTHON) training/evaluate.py $(OUTPUT) --dataset $(DATASET)

show: $(INSTALLED)  ## print recommendations of the trained model of DATASET
	$(PYTHON) -m examples.show $(OUTPUT) --dataset $(DATASET)

demo: $(INSTALLED)  ## try the model that was trained last on a page in the browser (MODEL=folder for another)
	$(VENV)/bin/hf-bert4rec demo $(MODEL)

# All rows of the table, with those of other libraries after `make bench-peers`. The rest runs if one benchmark fails.
SERVED := $(if $(filter file,$(origin MODEL)),,$(MODEL))
BENCHMARKS := serving demo_page training_step step_profile data_preparation large_data large_evaluation large_catalogue \
	catalogue_growth data_parallel scaling_curves peers_evaluation peers_training peers_quality

bench: $(INSTALLED)  ## measure this package and the other libraries; print the table, write it and the plots
	@for name in $(BENCHMARKS); do echo "$$name" >&2; options=; case $$name in serving|demo_page) options="$(SERVED)"; esac; \
	$(PYTHON) -m benchmarks.$$name $$options || failed="$$failed $$name"; done; \
	$(PYTHON) -m benchmarks.table; \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

# Without .venv, as on a rented machine, the system's Python measures, and nothing is installed.
bench-gpu:  ## measure on a GPU within eight minutes; a second call measures what is left
	$(firstword $(wildcard $(PYTHON)) python3) -m benchmarks.gpu $(OPTIONS)

bench-gpu-data: $(INSTALLED)  ## write the encoded MovieLens 1M that bench-gpu trains on
	$(PYTHON) -m benchmarks.gpu --encode

bench-table: $(INSTALLED)  ## write the benchmark tables and plots from existing results
	$(PYTHON) -m benchmarks.table

$(PEERS)/installed: benchmarks/peers/requirements.txt
	python3 -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --requirement $<
	@touch $@

$(CORNAC)/installed: benchmarks/peers/requirements-cornac.txt
	python3 -m venv $(CORNAC)
	$(CORNAC)/bin/python -m pip install --quiet --requirement $<
	@touch $@

bench-peers: $(PEERS)/installed $(CORNAC)/installed  ## create the environments of the other libraries

# One thread a worker: tiny models are slower on several. A module's tests share a worker, and so their fixtures.
PYTEST := OMP_NUM_THREADS=1 $(PYTHON) -m pytest --numprocesses $(WORKERS) --dist loadscope

test: $(INSTALLED)  ## run the quick tests, in WORKERS=2 processes
	$(PYTEST) -m "not slow"

test-all: test  ## run all tests
	$(PYTEST) -m slow

test-wheel:  ## build the wheel, install it in an empty environment, and run its commands there
	.ci/wheel.sh

$(OLDEST)/installed: pyproject.toml .ci/oldest.py
	python3 -m venv $(OLDEST)
	python3 .ci/oldest.py > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --constraint $(OLDEST)/constraints.txt torch
	$(OLDEST)/bin/python -m pip install --quiet --constraint $(OLDEST)/constraints.txt --editable '.[dev]'
	@touch $@

test-min: $(OLDEST)/installed  ## run all tests with the oldest versions that pyproject.toml allows
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest

# VERSIONS=5.0.0 runs only that one. A pytest in an environment takes the options of PYTEST.
test-versions: $(INSTALLED)  ## load folders and test with several versions of transformers; write docs/versions.md
	OMP_NUM_THREADS=1 PYTEST_ADDOPTS="--numprocesses $(WORKERS) --dist loadscope" $(PYTHON) -m tests.versions $(VERSIONS)

lock: $(INSTALLED)  ## write requirements.lock: every file of an installation, with its hash
	$(PYTHON) -m pip install --dry-run --ignore-installed --quiet --report .venv/report.json \
		--constraint constraints.txt '.[dev]'
	python3 .ci/lock.py < .venv/report.json > requirements.lock

stress: $(INSTALLED)  ## run all stress campaigns, about 15 minutes; counts go to tests/stress/results.json
	OMP_NUM_THREADS=1 ONEDNN_PRIMITIVE_CACHE_CAPACITY=0 $(PYTHON) -m tests.stress

check: $(INSTALLED)  ## lint, formatting and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(INSTALLED)  ## format the code
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

clean:  ## remove all generated files, with .venv
	rm -rf $(VENV) $(OLDEST) $(PEERS) $(CORNAC) .node outputs .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
