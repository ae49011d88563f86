# Each target does all the set-up it needs, in .venv; a second call reuses it.
#   make demo    the embedded dataset, M2A's ablation, its table: minutes on 2 CPU cores
#   make test    lint, types, tests
#   make bench   speed, memory and leak checks
#   make tables  render the tables of the runs in results/ again
#   make clean   remove what the other targets made (not results/)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := demo
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test bench tables clean setup

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
	$(BIN)/python -m pytest -n 2

bench: $(READY)
	$(BIN)/vidrepro measure startup
	$(BIN)/vidrepro measure loader
	$(BIN)/vidrepro measure throughput
	OMP_NUM_THREADS=1 $(BIN)/vidrepro measure step
	$(BIN)/vidrepro measure prepare
	$(BIN)/vidrepro prepare synthetic --data $(DEMO)/data
	$(BIN)/vidrepro measure leak --data $(DEMO)/data 

tables: $(READY)
	for paper in m2a aia stabn tcnn; do $(BIN)/vidrepro table --paper $$paper --format md,csv,tex --figure || exit 1; done

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
