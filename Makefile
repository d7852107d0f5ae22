# make demo [CRAWL=folder]   set up, then run the whole pipeline: on the bundled sample, or on any folder of OBELICS Parquet
# make test                  set up, then run the tests
# make test-long             those that play a whole day or kill processes again and again
# make test-gpu              those that need a CUDA device; from all others a GPU is hidden
# make check                 lint, format, types
# make up [CRAWL=folder]     the Dagster UI and daemon on http://127.0.0.1:3000, over the same home; new deliveries are registered
# make clean                 remove the environment; what the pipeline made stays

PYTHON ?= python3.11
# torch's threads sleep while they wait, so that a machine with other work to do stays fast
export OMP_WAIT_POLICY ?= PASSIVE
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-long test-gpu check up clean

demo: $(READY)
	$(BIN)/nyx run $(if $(CRAWL),--crawl "$(CRAWL)")

# two processes, the tests of a file in one: `make test TESTS=tests/resources PROCESSES=0` runs a part in this one
PROCESSES ?= 2
PYTEST = $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder
test: $(READY)
	$(PYTEST) -m "not long" $(TESTS)

# one more, since a day of the daemon's is mostly waiting for it
test-long: PROCESSES = 3
test-long: $(READY)
	$(PYTEST) -m long $(TESTS)

test-gpu: $(READY)
	$(BIN)/python -m pytest -m gpu $(TESTS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

up: $(READY)
	dagster_home="$$($(BIN)/nyx dagster-home $(if $(CRAWL),--crawl "$(CRAWL)"))" && \
	NYX_HOME="$${NYX_HOME:-$${dagster_home%/dagster}}" DAGSTER_HOME="$$dagster_home" $(BIN)/dagster dev -w workspace.yaml

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV)
