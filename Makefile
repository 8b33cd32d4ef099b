# Each target builds .venv with pip when it is missing or older than pyproject.toml; nothing else
# has to be installed by hand.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check bench clean

demo: $(VENV)/.run ## search a small gallery in English and Chinese, read a page, find things
	$(BIN)/python examples/demo.py

test: $(VENV)/.dev ## every test but the benchmarks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

check: $(VENV)/.dev ## lint, format, types, layering
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/repo/test_layers.py

bench: $(VENV)/.bench ## speed against the peers, as JSON with a hardware stamp
	$(BIN)/python -m benchmarks.run --out bench.json

$(VENV)/.run: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info src/*.egg-info
