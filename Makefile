# Linux and macOS. Needs nothing but Python 3.11 or newer (and make).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Without the tools' words to packagers, which alarm everybody else.
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check
SONG ?=

.PHONY: install create renew FORCE run tui test test-fast lint bench hostile torture clean

install: $(VENV)/.ready

# A copy of the pyproject.toml that the environment was made for. By its bytes, not by its time: what is unpacked from an
# archive is old. Renewed, the environment keeps what was added to it (PyTorch); where it cannot be renewed it is used as
# it is, and the next time tries again.
$(VENV)/.ready: FORCE
	@cmp -s pyproject.toml $@ || $(MAKE) --no-print-directory $(if $(wildcard $@),renew,create)

FORCE:

create:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'mp3restore needs Python 3.11 or newer: set PYTHON=/path/to/it')"
	@echo "Setting up mp3restore, once; this takes about a minute."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade "pip>=25.1"
	@$(PIP) --editable .
	@cp pyproject.toml $(VENV)/.ready

renew:
	@echo "mp3restore was updated: renewing its environment. PyTorch and models stay."
	@if $(PIP) --editable .; then cp pyproject.toml $(VENV)/.ready; \
	else echo "The environment could not be renewed (the lines above say why). It is tried again the next time."; fi

$(VENV)/.ready-dev: $(VENV)/.ready
	@$(PIP) --group dev
	touch $@

# Restores SONG (a file or a folder); without one it makes a song of its own and restores that.
run: install
ifeq ($(SONG),)
	$(BIN)/mp3restore demo demo
	$(BIN)/mp3restore --no-tui --out demo/AI_Restored_Variants "demo/Demo Song.mp3"
else
	$(BIN)/mp3restore --no-tui "$(SONG)"
endif

# The dashboard, on SONG where one is given.
tui: install
	@$(BIN)/mp3restore $(if $(SONG),"$(SONG)") || test $$? -eq 130  # stopped, which is no error here

test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

# Without what was measured to take more than half a second (tests/slow.txt, and what is marked so).
test-fast: $(VENV)/.ready-dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal -m "not slow"

lint: $(VENV)/.ready-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

bench: $(VENV)/.ready-dev
	$(BIN)/python -m benchmarks.stages
	$(BIN)/python -m benchmarks.dashboard
	$(BIN)/python -m benchmarks.listening

# More than ten thousand hostile inputs, and what came of them (docs/hostile.md). Linux.
hostile: $(VENV)/.ready-dev
	$(BIN)/python -m tests.hostile

# More than ten thousand faults put into the program's work, and what came of them (docs/torture.md). Linux, with a C
# compiler. What was broken off goes on; `make torture ARGUMENTS=--afresh` begins anew.
ARGUMENTS ?=
torture: $(VENV)/.ready-dev
	$(BIN)/python -m tests.torture $(ARGUMENTS)

clean:
	rm -rf $(VENV) demo build *.egg-info
