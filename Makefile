# Each target does all the set-up it needs, in .venv; a second call reuses it.
#   make demo    the embedded dataset, M2A's ablation, its table: minutes on 2 CPU cores
#   make test    lint, types, tests
#   make test-versions   the tests with the oldest supported torch, then with the newest that pip finds, each in an
#                environment of its own (6 GB in the temporary folder) that is removed afterwards
#   make bench   speed, memory and leak checks
#   make tables  render the tables of the runs in results/ again
#   make costs   count what the papers' rows cost again (experiments/*/costs.json)
#   make clean   remove what the other targets made (not results/)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := demo
# A file's tests stay in one process, which has its fixtures and counts once; the slowest tests are listed.
PYTEST_OPTIONS := -n 2 --dist loadfile --no-loadscope-reorder --durations=15
export PIP_DISABLE_PIP_VERSION_CHECK = 1

# "torch>=2.11" among the dependencies is torch==2.11.* here, and torchvision likewise
OLDEST_TORCH := $(shell sed -n 's/^ *"\(torch[a-z]*\)>=\([0-9.]*\)".*/\1==\2.*/p' pyproject.toml)

.PHONY: demo test test-versions bench tables costs clean setup

setup: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "vidrepro needs Python 3.11 or newer: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $(READY)

demo: $(READY)
	$(BIN)/vidrepro prepare synthetic --data $(DEMO)/data
	$(BIN)/vidrepro ablate m2a --dataset synthetic --data $(DEMO)/data --results $(DEMO)/results
	@echo "tables and runs of this demo: $(DEMO)/results (the committed evidence is in results/)"

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

test-versions:
	trap 'rm -rf "$$folder"' EXIT; trap 'exit 130' INT TERM; \
	for torch in '$(OLDEST_TORCH)' 'torch torchvision'; do \
		folder=$$(mktemp -d) && $(PYTHON) -m venv "$$folder" && \
		"$$folder/bin/python" -m pip install --quiet --upgrade pip && \
		"$$folder/bin/python" -m pip install --quiet $$torch -e '.[dev]' && \
		"$$folder/bin/python" -c 'import torch; print("torch", torch.__version__)' && \
		"$$folder/bin/python" -m pytest $(PYTEST_OPTIONS) && rm -rf "$$folder" || exit 1; \
	done

bench: $(READY)
	$(BIN)/python -m benchmarks startup
	$(BIN)/vidrepro measure loader
	$(BIN)/vidrepro measure throughput
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks step
	$(BIN)/python -m benchmarks prepare
	$(BIN)/vidrepro prepare synthetic --data $(DEMO)/data
	$(BIN)/python -m benchmarks leak --data $(DEMO)/data 

tables: $(READY)
	for paper in m2a aia stabn tcnn; do $(BIN)/vidrepro table --paper $$paper --format md,csv,tex --figure || exit 1; done

costs: $(READY)
	for paper in m2a aia stabn tcnn; do $(BIN)/vidrepro measure $$paper --save || exit 1; done

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
