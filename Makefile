# fewbits: the two commands that matter are `make all` and `make test`.
.DEFAULT_GOAL := help
.PHONY: help all paper so-far test test-quick ui lint format bench env lock clean

PYTHON ?= python3
CORES ?= 8
VENV := .venv
# Studies that `make paper` runs: those that take hours at most.
PAPER ?= ef21,lowrank_talk,fedavg
comma := ,
# Extra words for pip when it installs torch, for example another index for a CPU-only or CUDA build.
TORCH_ARGS ?=
# Tests on several cores, the files in their order, each at one of them.
SPREAD := -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export PIP_DISABLE_PIP_VERSION_CHECK := 1

LOCKS := envs/requirements.lock envs/torch.txt envs/torchvision.txt pyproject.toml
READY := $(VENV)/.ready

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

all: $(READY) ## environment, every run, figures, tables: ends with the path of reports/report.pdf
	@snakemake --cores $(CORES) all --config scale=default
	@echo "The report: $(CURDIR)/reports/report.pdf"

paper: $(READY) ## the same at the papers' own scale (hours; needs the data sets; PAPER=a,b names other studies)
	@snakemake --cores $(CORES) all --config scale=paper studies=$(PAPER)
	@echo "The report: $(CURDIR)/reports/report-paper.pdf"

so-far: $(READY) ## of `make paper`, now or after it was stopped: a report on the grids that are done
	@fewbits so-far --scale paper $(addprefix --study ,$(subst $(comma), ,$(PAPER)))

test: $(READY) ## all tests, the long ones too
	@python -m pytest $(SPREAD)

test-quick: $(READY) ## the tests that take seconds
	@python -m pytest $(SPREAD) -m "not pipeline and not long"

ui: $(READY) ## browse the runs in MLflow, on this machine only
	@fewbits ui

lint: $(READY) ## style of Python and Snakemake files
	@ruff check . && ruff format --check . && snakefmt --check Snakefile workflow/rules

format: $(READY) ## put files into that style
	@ruff check --fix --quiet . ; ruff format --quiet . ; snakefmt Snakefile workflow/rules

bench: $(READY) ## speed, as ratios against named alternatives
	@python -m benchmarks

env: $(READY) ## the environment alone

$(READY): $(LOCKS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "fewbits needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..."; exit 1; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked packages into $(VENV) (1 of 4; a few minutes the first time)"
	@python -m pip install -qq --require-hashes -r envs/requirements.lock
	@echo "Installing torch (2 of 4)"
	@python -m pip install -qq $(TORCH_ARGS) -r envs/torch.txt
	@python -m pip install -qq $(TORCH_ARGS) --no-deps -r envs/torchvision.txt
	@echo "Installing fewbits itself (3 of 4)"
	@python -m pip install -qq --no-deps --no-build-isolation --editable .
	@echo "Making an empty MLflow store, of which the pipeline's will be copies (4 of 4)"
	@fewbits store --template > /dev/null
	@touch $@

lock: ## make envs/requirements.lock anew from requirements.in (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --no-annotate --quiet envs/requirements.in -o envs/requirements.lock

clean: ## delete what the pipeline made (results, reports, logs), not the environment
	rm -rf results logs .snakemake reports/*.pdf
