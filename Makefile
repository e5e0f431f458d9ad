# Everything happens in .venv: `make demo` and `make test` work on a machine that has Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PLUGINS := $(wildcard plugins/*)
READY := $(VENV)/.ready

.PHONY: demo test lint clean

demo: $(READY)  ## Compare three methods at four code lengths on real pictures and words
	$(BIN)/hashzoo bench --method soda,dcmh,resnet --bits 16,32,64,128

test: $(READY)  ## Run all tests, slow ones too
	$(BIN)/python -m pytest -n auto --dist worksteal --cov --cov-report=term:skip-covered --cov-fail-under=90

lint: $(READY)  ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy hashzoo $(PLUGINS:%=%/src)

$(READY): pyproject.toml constraints.txt $(PLUGINS:%=%/pyproject.toml)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[lite,emoji,data,search,serve,figures,exports,onnx,ray,remote,dev]' $(PLUGINS:%=-e %)
	touch $@

clean:  ## Remove the virtual environment; runs and the cache stay
	rm -rf $(VENV)
