# Everything below works in a fresh clone; `make install` runs by itself where it is needed.
PYTHON ?= python3
VENV ?= .venv
# A further package index, e.g. https://download.pytorch.org/whl/cpu for a torch without CUDA.
TORCH_INDEX ?=
KILLS ?= 20
FLIPS ?= 100
ARGS ?=
PY := $(VENV)/bin/python
READY := $(VENV)/.installed

.PHONY: help install quickstart test lint types oracles test-seeds test-resume test-errors test-data test-slow test-gpu bench results
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

install: $(READY)  ## the environment .venv with the tested packages (constraints.txt)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c constraints.txt -e '.[video,joblib,vault,dev]'
	@touch $(READY)

quickstart: $(READY)  ## train on the bundled data, evaluate in MuJoCo, print a table (ARGS="key=value ...")
	$(PY) -m vgm2p fit $(ARGS)

test: lint types $(READY)  ## lint, types and the default suite
	$(PY) -m pytest -n 2

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(READY)
	$(VENV)/bin/mypy

oracles: $(READY)  ## every exact and statistical oracle as a table
	$(PY) -m tests.oracles

test-seeds: $(READY)  ## three seeds at once equal three runs; blocks of 1, 7, 50 updates give the same weights
	$(PY) -m pytest -v tests/algos/test_contract.py -k "single_runs"
	$(PY) -m pytest -v tests/run/test_blocks.py

test-resume: $(READY)  ## KILLS=20: kill -9 at random moments, then compare with the uninterrupted run
	$(PY) -m tests.run.kills $(KILLS)
	$(PY) -m pytest -v tests/run/test_resume.py

test-errors: $(READY)  ## wrong commands and files, FLIPS=100 flipped bits in each of four files
	$(PY) -m tests.cli.wrong
	$(PY) -m tests.cli.flips $(FLIPS)

test-data: $(READY)  ## the datasets: hub, unpacking, conversion, draws; FLIPS=100 flipped bits in vaults and data files
	$(PY) -m pytest -v -n 2 -m "slow or not slow" tests/datamodules
	$(PY) -m tests.datamodules.flips $(FLIPS)

results: $(READY)  ## the learning tables of docs/results.md (hours; resumable; VGM2P_DATA=<folder of the recordings>)
	$(PY) -m tools.results $(ARGS)

test-slow: $(READY)  ## what takes minutes; with VGM2P_DATA=<folder>, all recordings replayed in the simulator
	$(PY) -m pytest -v -m slow

test-gpu: $(READY)  ## on a machine with CUDA: captured against eager updates, ms per update, a run with evaluation beside
	$(PY) -m vgm2p bench gpu
	$(PY) -m vgm2p fit updates=20000 eval_every=5000 compare=[] trainer.accelerator=cuda

bench: $(READY)  ## speed as ratios in one run (JAX=<python that has jax>); tables and JSON below bench/
	$(PY) -m vgm2p bench step $(if $(JAX),jax=$(JAX))
	$(PY) -m vgm2p bench step critic=default
	$(PY) -m vgm2p bench loop
	$(PY) -m vgm2p bench rollout
	$(PY) -m vgm2p bench data
