# make test      unit and integration tests, without models
# make pipeline  the whole loop on real models: pytest -m pipeline, and a report
# make torch     the same loop with the kokoro package on PyTorch
# make soak      breaks the stack in every way we know, at length, and rewrites the table of docs/reliability.md
# make matrix    the built wheel alone, and beside other plugins on each Python that is here (nox)
# make examples  the built wheel in the repositories of tests/examples, on real models (nox)
# make browser   Debian's Chromium, where there is none: without one the tests of the page are skipped
# make audit     known vulnerabilities of what is installed (pip-audit); needs the way to the advisories
# make check     ruff, format, mypy
# Arguments go through: make pipeline ARGS="-k canoe"

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
ROWS := $(CURDIR)/voiceloop-results/reliability.jsonl
# llama-cpp-python comes as source; this leaves out what the stack does not use.
export CMAKE_ARGS ?= -DLLAVA_BUILD=OFF
BROWSERS := chromium chromium-browser google-chrome
# Empty for root, who may have no sudo.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: test browser soak audit pipeline torch matrix examples check models clean

test: $(VENV)/.test
	$(BIN)/python -m pytest tests/unit tests/integration $(ARGS)

soak: $(VENV)/.test
	mkdir -p $(dir $(ROWS))
	rm -f $(ROWS)
	VOICELOOP_SOAK=$(ROWS) $(BIN)/python -m pytest tests/integration -k survives
	$(BIN)/python tests/reliability.py $(ROWS) docs/reliability.md

browser:
	@for name in $(BROWSERS); do command -v $$name && exit; done; \
	$(SUDO) apt-get update -qq && \
	$(SUDO) apt-get install -y -qq --no-install-recommends chromium

audit: $(VENV)/.test $(VENV)-audit/.installed
	.ci/audit $(VENV) $(VENV)-audit $(ARGS)

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

pipeline: models
	$(BIN)/python -m pytest -m pipeline --voiceloop-require --voiceloop-report=html $(ARGS)

torch: $(VENV)/.torch models
	$(BIN)/voiceloop models pull kokoro-82m-torch
	$(BIN)/python -m pytest -m torch --voiceloop-require --voiceloop-report=html $(ARGS)

matrix: $(VENV)/.test
	$(BIN)/nox --sessions bare matrix

examples: $(VENV)/.test
	$(BIN)/nox --sessions examples

models: $(VENV)/.stack
	$(BIN)/voiceloop models pull

$(VENV)/.venv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@touch $@

$(VENV)/.test: $(VENV)/.venv pyproject.toml
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

$(VENV)/.stack: $(VENV)/.test pyproject.toml
	@echo "Installing the engines. llama-cpp-python is compiled: about 6 minutes on two cores, once."
	$(BIN)/python -m pip install --progress-bar on --editable ".[stack]"
	@touch $@

$(VENV)/.torch: $(VENV)/.stack pyproject.toml
	$(BIN)/python -m pip install --progress-bar on --editable ".[stack,torch]"
	@touch $@

$(VENV)-audit/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-audit/bin/python -m pip install --quiet --group audit
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-audit .nox dist voiceloop-results voiceloop-demo
