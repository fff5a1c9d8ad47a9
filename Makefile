# `make help` lists what there is. CI calls the same targets.
DATASET ?= ml-100k
OUTPUT ?= outputs/$(DATASET)
RECIPE ?= training/recipes/$(DATASET:.txt=).yaml
OPTIONS ?=
VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/installed
OLDEST := .venv-min
MODEL ?= $(patsubst %/config.json,%,$(firstword $(shell ls -t outputs/*/config.json 2>/dev/null)))

# Threads that wait without spinning: as fast on an idle machine, and many times faster on one that does other work too.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help install run evaluate show demo bench test test-min lock torture check format clean

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  DATASET=ml-latest-small chooses another release, OPTIONS='--seed 1' overrides keys of its recipe."

# torch comes first and pinned: left to a dependency, pip may choose a build with gigabytes of CUDA.
$(INSTALLED): pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --constraint constraints.txt torch
	$(PYTHON) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

install: $(INSTALLED)  ## make .venv with the pinned versions

run: $(INSTALLED)  ## download MovieLens, train, evaluate, export to outputs/, and recommend from there
	$(PYTHON) training/train.py $(RECIPE) --dataset $(DATASET) --output_dir $(OUTPUT) $(OPTIONS)
	$(PYTHON) training/evaluate.py $(OUTPUT) --dataset $(DATASET)
	$(PYTHON) training/show.py $(OUTPUT) --dataset $(DATASET)

evaluate: $(INSTALLED)  ## evaluate the trained model of DATASET again
	$(PYTHON) training/evaluate.py $(OUTPUT) --dataset $(DATASET)

show: $(INSTALLED)  ## print recommendations of the trained model of DATASET
	$(PYTHON) training/show.py $(OUTPUT) --dataset $(DATASET)

demo: $(INSTALLED)  ## try the model that was trained last on a page in the browser (MODEL=folder for another)
	$(PYTHON) model_card/space/app.py $(MODEL)

bench: $(INSTALLED)  ## measure serving (MODEL=folder), training steps and the data path; print the table
	$(PYTHON) training/benchmarks/serving.py $(MODEL)
	$(PYTHON) training/benchmarks/training_step.py
	$(PYTHON) training/benchmarks/data_room.py
	$(PYTHON) training/benchmarks/large_catalogue.py
	$(PYTHON) training/benchmarks/table.py

test: $(INSTALLED)  ## run the tests
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest

$(OLDEST)/installed: pyproject.toml .ci/oldest.py
	python3 -m venv $(OLDEST)
	python3 .ci/oldest.py > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --constraint $(OLDEST)/constraints.txt torch
	$(OLDEST)/bin/python -m pip install --quiet --constraint $(OLDEST)/constraints.txt --editable '.[dev]'
	@touch $@

test-min: $(OLDEST)/installed  ## run the tests with the oldest versions that pyproject.toml allows
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest

lock: $(INSTALLED)  ## write requirements.lock: every file that an installation takes, by hash
	$(PYTHON) -m pip install --dry-run --ignore-installed --quiet --report .venv/report.json \
		--constraint constraints.txt '.[dev]'
	python3 .ci/lock.py < .venv/report.json > requirements.lock

torture: $(INSTALLED)  ## try to break everything, at length; counts go to training/results/torture.json
	OMP_NUM_THREADS=1 $(PYTHON) -m training.torture

check: $(INSTALLED)  ## lint, formatting and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(INSTALLED)  ## format the code
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

clean:  ## remove everything that was made, .venv too
	rm -rf $(VENV) $(OLDEST) outputs .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
