# `make demo` and `make test` set up .venv once; later calls reuse it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_TEST := $(VENV)/.ready-test
BENCH := .venv-bench
READY_BENCH := $(BENCH)/.ready

.PHONY: browser-deps check-platforms test-browser demo fuzz test test-slow test-reliability test-official test-all lab doctor lint format records clean-notebooks bench help

help:  ## list these commands
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/'

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $(PYTHON) is older than 3.11; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info >= (3, 14))' \
	  || echo "note: $(PYTHON) is newer than 3.13, the newest that the pins were checked for" >&2
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "error: python3-venv is missing; install it (Debian: apt-get install python3-venv)" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $(READY)

$(READY_TEST): $(READY) requirements-test.txt requirements-peers.txt requirements-ray.txt
	$(BIN)/python -m pip install --quiet --requirement requirements.txt --requirement requirements-test.txt --requirement requirements-ray.txt
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-peers.txt
	touch $(READY_TEST)

demo: $(READY)  ## run every notebook headless on the embedded demo
	$(BIN)/python -m helpers run all

RECIPES := unet3d_brats unet_carvana fcn_voc2012 unetpp3d_liver nnunet_heart
records: $(READY)  ## measure the demo of the five recipes on this machine, and bring the README's table up to date
	@for recipe in $(RECIPES); do \
	  folder=$$($(BIN)/python -m helpers run $$recipe | sed -n 's/^passed: //p') && test -n "$$folder" \
	  && $(BIN)/python -m helpers record "$$folder" || exit 1; done
	$(BIN)/python -m helpers table --readme README.md README.zh-CN.md

doctor: $(READY)  ## show what this machine has and which notebooks run on it
	$(BIN)/python -m helpers doctor

test: $(READY_TEST)  ## run unit and notebook tests with the coverage gate
	$(BIN)/python -m coverage erase
	$(BIN)/python -m pytest -m "not slow and not fuzz" --cov=helpers --cov-report=term

browser-deps:  ## install Debian's Chromium for the browser tests (as root)
	command -v chromium || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }

test-browser: $(READY_TEST)  ## test JupyterLab and reports in Chromium, offline; skipped if it is missing
	$(BIN)/python -m pytest -m browser --timeout 900 -rs

test-slow: $(READY_TEST)  ## run the slow suites: notebooks on the doubles, hand-over, browser, installed command
	$(BIN)/python -m pytest -m "slow and not official and not fuzz" --timeout 1200

test-reliability: $(READY_TEST)  ## bad days: kills of every kind of process, full disks, damaged inputs; COOKBOOK_KILLS (50) of a pipeline
	COOKBOOK_KILLS=$${COOKBOOK_KILLS:-50} $(BIN)/python -m pytest tests/reliability --timeout 1200 -rs

test-official: $(READY_TEST)  ## run the slowest suites: graphs of official size on the double of ATC, nnU-Net model folders
	$(BIN)/python -m pytest -m official --timeout 1200

fuzz: $(READY_TEST)  ## mutate files of every kind for COOKBOOK_FUZZ_SECONDS (600); none may end raw or wrong
	$(BIN)/python -m pytest -m fuzz --timeout 7200 -rs

test-all: $(READY_TEST)  ## run every suite
	$(BIN)/python -m coverage erase
	$(BIN)/python -m pytest -m "not fuzz" --cov=helpers --cov-report=term

# Every pin must have a wheel for each Python and machine; nothing is installed. Some need glibc 2.34 or 2.35 on aarch64.
GLIBC := 17 24 26 27 28 31 34 35
check-platforms: $(READY)  ## resolve every pin for other Pythons and for aarch64
	@for python in 3.11 3.12 3.13; do for machine in x86_64 aarch64; do \
	  $(BIN)/python -m pip install --quiet --dry-run --no-deps --only-binary :all: --python-version $$python \
	    $(foreach n,$(GLIBC),--platform manylinux_2_$(n)_$$machine) --platform manylinux2014_$$machine \
	    --target $(VENV)/.platforms --requirement requirements.txt 2>/dev/null \
	  && echo "every pin resolves: Python $$python on $$machine" || exit 1; done; done

# Settings are in jupyter/; LAB_OPTIONS adds to them, as in: make lab LAB_OPTIONS='--no-browser --port=9000'
lab: $(READY)  ## open JupyterLab on loopback with a token
	JUPYTER_CONFIG_PATH="$(CURDIR)/jupyter" $(BIN)/python -m jupyter lab --ServerApp.root_dir="$(CURDIR)" $(LAB_OPTIONS)

lint: $(READY_TEST)  ## check style, formatting and types
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

format: $(READY_TEST)  ## correct style and formatting
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

# A pasted screenshot (cell.attachments) can be a picture of a patient too.
STRIPPED_KEYS := cell.attachments cell.metadata.papermill metadata.papermill \
  metadata.language_info.version metadata.language_info.codemirror_mode metadata.language_info.file_extension \
  metadata.language_info.mimetype metadata.language_info.nbconvert_exporter metadata.language_info.pygments_lexer
clean-notebooks: $(READY_TEST)  ## strip outputs and widget state from the notebooks
	$(BIN)/python -m nbstripout --keep-id --extra-keys "$(STRIPPED_KEYS)" notebooks/*.ipynb

# torch is installed first and the peers without their dependencies, so that the build of torch stays the one pip offers.
$(READY_BENCH): benchmarks/requirements-base.txt benchmarks/requirements.txt requirements-peers.txt
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --requirement benchmarks/requirements-base.txt
	$(BENCH)/bin/python -m pip install --quiet --no-deps --requirement benchmarks/requirements.txt
	touch $(READY_BENCH)

bench: $(READY_BENCH)  ## compare with MONAI and nnU-Net, in an environment of its own
	$(BENCH)/bin/python benchmarks/run.py
	$(BENCH)/bin/python benchmarks/network.py
	$(BENCH)/bin/python benchmarks/files.py
	$(BENCH)/bin/python benchmarks/plot.py
