# All targets work in a fresh clone. They run `make install` first if it is needed.
PYTHON ?= python3
VENV ?= .venv
# An additional package index, e.g. https://download.pytorch.org/whl/cpu for a torch without CUDA.
TORCH_INDEX ?=
KILLS ?= 20
FLIPS ?= 100
EVERY ?= 1
COMMANDS ?=
MINUTES ?= 30
ARGS ?=
# The repository of smacv2, or a local clone of it.
SMACV2 ?= https://github.com/oxwhirl/smacv2
SMACV2_COMMIT := 577ab5a2cff2391f8df582da5731ea9cd6adf3c6
SC2PATH ?= $(HOME)/StarCraftII
# With the password of this file, you accept Blizzard's AI and machine learning licence.
SC2_ZIP ?= https://blzdistsc2-a.akamaihd.net/Linux/SC2.4.10.zip
PY := $(VENV)/bin/python
READY := $(VENV)/.installed
# The virtual environment that gets JAX and JaxMARL (0.7 GB), when a target needs them.
SMAX_VENV ?= $(VENV)
SMAX_PY := $(SMAX_VENV)/bin/python
SMAX_READY := $(SMAX_VENV)/.installed-smax

.PHONY: $(shell sed -nE 's/^([a-z0-9-]+):.*/\1/p' $(MAKEFILE_LIST))
.DEFAULT_GOAL := help

help:  ## print this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

install: $(READY)  ## make the virtual environment .venv with the tested packages (constraints.txt)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c constraints.txt -e '.[video,joblib,slurm,optuna,vault,docs,dev]'
	@touch $(READY)

install-smax: $(SMAX_READY)  ## add JAX and JaxMARL to .venv, or to SMAX_VENV (docs/smax.md)

$(SMAX_READY): pyproject.toml constraints.txt constraints-smax.txt $(filter $(SMAX_VENV)/.installed,$(READY))
	@test -x $(SMAX_PY) || $(PYTHON) -m venv $(SMAX_VENV)
	$(SMAX_PY) -m pip install -q $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c constraints.txt -c constraints-smax.txt -e '.[smax,video,joblib,dev]'
	@touch $(SMAX_READY)

docs: $(READY)  ## the site of the documentation, in build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

notebook: $(READY)  ## run notebooks/quickstart.ipynb at a small budget; with ARGS=--write, at its full budget, and keep what it printed
	$(PY) -m tools.notebook $(ARGS)

dist: $(READY)  ## the wheel and the source archive, in dist/, checked by twine
	rm -rf dist build/lib build/bdist.*
	$(PY) -m build --outdir dist .
	$(PY) -m twine check --strict dist/*

quickstart: $(READY)  ## train on the bundled data, evaluate in MuJoCo, print a table (ARGS="key=value ...")
	$(PY) -m vgm2p fit $(ARGS)

quickstart-discrete: $(SMAX_READY)  ## the same with discrete actions: bundled battles of SMAX, and a table of victories
	$(SMAX_PY) -m vgm2p fit experiment=quickstart_discrete $(ARGS)

test: lint types $(READY)  ## lint, types and the default tests
	$(PY) -m pytest -n 2 --dist worksteal -rs

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(READY)
	$(VENV)/bin/mypy

oracles: $(READY)  ## all oracles, exact and statistical, as a table
	$(PY) -m tests.oracles

test-seeds: $(READY)  ## three seeds together equal three single runs; blocks of 1, 7, 50 updates give the same weights
	$(PY) -m pytest -v -m "slow or not slow" tests/algos/test_contract.py -k "single_runs"
	$(PY) -m pytest -v tests/run/test_blocks.py

test-resume: $(READY)  ## KILLS=20: kill -9 and signals at random moments, other machines, sweeps; compare with the uninterrupted run
	$(PY) -m tests.run.kills $(KILLS)
	$(PY) -m pytest -v tests/run/test_resume.py

test-crash: $(READY)  ## every call of short commands that writes fails, and is the last, in turn (EVERY=10: each tenth; COMMANDS="fit")
	$(PY) -m tests.run.crash $(EVERY) $(COMMANDS)

test-soak: $(READY)  ## MINUTES=30: memory and open files of a long fit stay flat
	$(PY) -m tests.run.soak $(MINUTES)

test-export: $(READY)  ## every algorithm as ONNX and torch.export file: the largest difference to act, as a table (minutes)
	$(PY) -m tests.execution.parity

test-hostile: $(READY)  ## files and names of somebody who wants to do harm: nothing is executed, changed or leaked
	$(PY) -m tests.hostile $(ARGS)

test-errors: $(READY)  ## wrong commands and files, FLIPS=100 flipped bits in each of four files
	$(PY) -m tests.cli.wrong
	$(PY) -m tests.cli.flips $(FLIPS)

test-cases: $(READY)  ## failing inputs from the field, and random datasets against slow references (minutes)
	$(PY) -m pytest -v -n 2 -m "slow or not slow" tests/cases

test-data: $(READY)  ## tests of datasets: hub, unpacking, conversion, draws; FLIPS=100 flipped bits in vaults and data files
	$(PY) -m pytest -v -n 2 -m "slow or not slow" tests/datamodules
	$(PY) -m tests.datamodules.flips $(FLIPS)

install-smac: $(READY)  ## install smacv2 and pysc2 for the SMAC experiments (SMACV2=<url or clone>); the game: docs/smac.md
	$(PY) -m pip install -q -c constraints.txt -c constraints-smac.txt pysc2
	$(PY) -m pip install -q --no-deps $(if $(wildcard $(SMACV2)/setup.py),$(abspath $(SMACV2)),git+$(SMACV2)@$(SMACV2_COMMIT))
	$(PY) -m pip uninstall -q -y enum34
	@echo "installed. protobuf was not changed ('pip check' reports that smacv2 asks for < 3.21): games run in separate"
	@echo "processes, with the Python implementation of protobuf. Next: $(PY) -m vgm2p doctor"

sc2:  ## install StarCraft II 4.10 in $SC2PATH (default ~/StarCraftII; 4 GB); you accept Blizzard's licence (docs/smac.md)
	@command -v unzip > /dev/null || { echo "make sc2 needs unzip"; exit 1; }
	@mkdir -p "$(SC2PATH)" && folder=$$(mktemp -d -p "$(SC2PATH)") && trap 'rm -rf "$$folder"' EXIT && trap 'exit 1' INT TERM && \
	if command -v wget > /dev/null; then wget --progress=dot:giga -O "$$folder/zip" "$(SC2_ZIP)"; else curl -fLo "$$folder/zip" "$(SC2_ZIP)"; fi && \
	unzip -q -P iagreetotheeula "$$folder/zip" -d "$$folder" && rm "$$folder/zip" && \
	cp -alf "$$folder"/StarCraftII/. "$(SC2PATH)" && echo "StarCraft II is in $(SC2PATH)"

smac-maps:  ## install SMAC's maps in $SC2PATH/Maps (default ~/StarCraftII; SMACV2=<url or clone>)
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && trap 'exit 1' INT TERM && \
	git clone -q --no-checkout $(SMACV2) $$folder && \
	git -C $$folder checkout -q $(SMACV2_COMMIT) -- smacv2/env/starcraft2/maps/SMAC_Maps && \
	install -Dm644 -t "$(SC2PATH)/Maps/SMAC_Maps" $$folder/smacv2/env/starcraft2/maps/SMAC_Maps/*.SC2Map && \
	echo "$$(ls "$(SC2PATH)/Maps/SMAC_Maps" | wc -l) maps in $(SC2PATH)/Maps/SMAC_Maps"

test-smac: $(READY)  ## all SMAC tests, with a stand-in for StarCraft II (after install-smac)
	$(PY) -m pytest -v -rs -m "slow or not slow" --timeout 1200 tests/envs/test_smac*.py tests/envs/test_workers.py
	$(PY) -m pytest -v -rs --timeout 1200 tests/envs/test_contract.py -k smac

results: $(READY)  ## the learning tables of docs/results.md (hours; resumable; VGM2P_DATA=<folder of the recordings>)
	$(PY) -m tools.results robots $(ARGS)

results-baselines: $(READY)  ## the table of docs/baselines.md (hours; resumable; VGM2P_DATA=<folder of the recordings>)
	$(PY) -m tools.results baselines $(ARGS)

results-smax: $(SMAX_READY)  ## the SMAX tables: docs/results.md, docs/smax_baselines.md (hours; resumable; records its data)
	$(SMAX_PY) -m tools.results battles $(ARGS)

test-smax: $(SMAX_READY)  ## tests of SMAX: sizes, rules, seeds, one compilation, data to policy (minutes)
	$(SMAX_PY) -m pytest -v -m "slow or not slow" tests/envs/test_smax.py
	$(SMAX_PY) -m pytest -v -rs -m "slow or not slow" tests/envs/test_contract.py -k smax

test-page: $(READY)  ## the HTML page of a report in a headless Chromium (CHROMIUM=<its path>)
	$(PY) -m pytest -v -rs -m "slow or not slow" tests/report/test_page.py tests/report/test_browser.py

test-slurm: $(READY)  ## cells as jobs of a Slurm cluster that is started on this machine (as root, with slurm-wlm and munge)
	$(PY) -m pytest -v -rs -m slow tests/clusters/test_slurm.py

test-ray: $(READY)  ## cells as tasks of a Ray cluster on this machine; installs ray
	$(PY) -m pip install -q -c constraints.txt -e '.[ray]'
	$(PY) -m pytest -v -rs -m slow tests/clusters/test_ray.py

test-slow: $(READY)  ## tests that take minutes; with VGM2P_DATA=<folder>, all recordings are replayed in the simulator
	$(PY) -m pytest -v -rs -n 2 --dist worksteal -m slow

test-gpu: $(READY)  ## on a machine with CUDA: captured against eager updates, ms per update, runs with asynchronous evaluation
	$(PY) -m vgm2p bench gpu
	rm -rf runs/gpu
	$(PY) -m vgm2p fit updates=400 eval_every=200 compare=[] trainer.accelerator=cuda trainer.precision=16-mixed out=runs/gpu
	$(PY) -m vgm2p fit resume=runs/gpu updates=800
	$(PY) -m vgm2p fit updates=20000 eval_every=5000 compare=[] trainer.accelerator=cuda

bench: $(READY)  ## measure speed, as ratios within one run (JAX=<python that has jax>); tables and JSON in bench/
	$(PY) -m vgm2p bench step $(if $(JAX),jax=$(JAX))
	$(PY) -m vgm2p bench step critic=default
	$(PY) -m vgm2p bench loop
	$(PY) -m vgm2p bench rollout
	$(PY) -m vgm2p bench act
	$(PY) -m vgm2p bench data
