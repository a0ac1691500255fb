# edgecomp: `make help` lists the targets.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# The packages as pyproject.toml maps them: mypy does not follow an editable install.
TYPED := $(VENV)/typed

# torch goes first and alone: another route takes a build several times as large. Where the build
# for this machine's card, or for the processor alone, lies elsewhere, TORCH_FLAGS takes pip's flags.
TORCH ?= torch==2.13.0
TORCH_FLAGS ?=

# llama-cpp-python is compiled for this very machine (some minutes): for the graphics card that is
# there, or what BACKEND names: cpu, cuda, hip, vulkan, metal or sycl. Wheels are kept and used again.
LLAMA := llama-cpp-python==0.3.36
BACKEND ?= auto
WHEELS ?= $(HOME)/.cache/edgecomp-wheels
INSTALL_LLAMA = $(BIN)/python tools/install_llama_cpp.py '$(LLAMA)' '$(WHEELS)' '$(BACKEND)'

# Its own converter, of this very version, writes the families that have no row of ours.
CONVERTER := $(VENV)/share/edgecomp/llama.cpp
KEEP_CONVERTER = $(BIN)/python tools/keep_converter.py '$(LLAMA)' '$(WHEELS)' '$(CONVERTER)'

# optimum's ONNX exporter needs transformers 4, so it lives in an environment of its own.
OPTIMUM := .venv-optimum
OPTIMUM_INSTALLED := $(OPTIMUM)/.installed

.PHONY: help install optimum demo test test-slow test-long test-optimum test-offload fuzz kill-test lint format bench bench-predict bench-devices bench-families bench-fleets bench-verdicts readme
.PHONY: tui-demo screenshots lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

install: $(INSTALLED) ## Set up .venv; BACKEND=auto|cpu|cuda|hip|vulkan|metal|sycl
ifneq ($(origin BACKEND),file)
	$(INSTALL_LLAMA)
endif

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

$(INSTALLED): pyproject.toml requirements.lock tools/install_llama_cpp.py tools/keep_converter.py | $(BIN)/python
	$(BIN)/pip install --quiet $(TORCH_FLAGS) '$(TORCH)'
	$(INSTALL_LLAMA)
	$(BIN)/pip install --quiet --constraint requirements.lock --editable '.[demo,dev,harness]'
	$(BIN)/pip check
	-$(KEEP_CONVERTER)
	touch $@

optimum: $(OPTIMUM_INSTALLED) ## Set up optimum's own environment, for --format onnx-optimum-*

$(OPTIMUM_INSTALLED): requirements-optimum.lock
	$(PYTHON) -m venv $(OPTIMUM)
	$(OPTIMUM)/bin/pip install --quiet --upgrade pip
	$(OPTIMUM)/bin/pip install --quiet $(TORCH_FLAGS) '$(TORCH)'
	$(OPTIMUM)/bin/pip install --quiet --requirement requirements-optimum.lock
	$(OPTIMUM)/bin/pip check
	touch $@

demo: $(INSTALLED) ## Fit the embedded model under 95 MB and prove it
	$(BIN)/edgecomp fit demo --context 2048 --max-size 95MB --output demo-edge

test: $(INSTALLED) ## Run the tests, on every core
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(TESTS)

test-slow: $(INSTALLED) ## The tests that take half a minute or more each (some minutes)
	$(BIN)/pytest -m slow --numprocesses auto --maxprocesses 4

test-long: $(INSTALLED) ## The app with the demo model, end to end in tmux (many minutes)
	$(BIN)/pytest -m long

test-optimum: $(INSTALLED) optimum ## Exports by optimum, of decoders and encoders
	$(BIN)/pytest -m optimum

fuzz: $(INSTALLED) ## 20,000 damaged files, each refused in a paragraph or read (half an hour)
	PYTHONPATH=tests $(BIN)/python -m fuzz

kill-test: $(INSTALLED) ## 200 kills of a fit at random moments, each followed by the same bytes (an hour)
	PYTHONPATH=tests $(BIN)/python -m kill

test-offload: $(INSTALLED) ## Plans with cards, carried out on devices offered over the loopback
	$(BIN)/pytest -m offload

lint: $(INSTALLED) ## Formatter, linter, types and import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	rm -rf $(TYPED) && mkdir -p $(TYPED)/edgecomp
	ln -s $(CURDIR)/edgecomp/* $(CURDIR)/exporters $(CURDIR)/tui $(TYPED)/edgecomp
	cd $(TYPED) && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml \
		--cache-dir $(CURDIR)/.mypy_cache
	$(BIN)/mypy --config-file pyproject.toml tools/install_llama_cpp.py tools/keep_converter.py
	cd $(TYPED) && PYTHONPATH=. $(CURDIR)/$(BIN)/lint-imports $(CURDIR)/pyproject.toml --no-cache --no-logo

format: $(INSTALLED) ## Format the code and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(INSTALLED) ## Predictions, our meter, the app and the table of all devices, timed
	$(BIN)/python benchmarks/predictions.py
	$(BIN)/python benchmarks/meter_overhead.py
	$(BIN)/python benchmarks/tui.py
	$(BIN)/python benchmarks/devices.py

bench-predict: $(INSTALLED) ## Memory as predicted and as measured, over four models (an hour)
	$(BIN)/python benchmarks/predict_memory.py

bench-devices: $(INSTALLED) ## Speeds predicted from profiles beside published ones (reads EDGECOMP_DATA)
	$(BIN)/python benchmarks/published_speeds.py --fit
	$(BIN)/python benchmarks/localscore.py

bench-families: $(INSTALLED) ## What can be made of a hundred families, each as a tiny model (half an hour)
	PYTHONPATH=tests $(BIN)/python benchmarks/families.py

bench-fleets: $(INSTALLED) ## Plans of a large fleet, timed, and a cluster of 64 nodes, simulated
	$(BIN)/python benchmarks/fleets.py
	$(BIN)/python benchmarks/fleet_simulation.py

bench-verdicts: $(INSTALLED) ## How often a verdict on capabilities errs, by simulation (ten minutes)
	$(BIN)/python benchmarks/verdicts.py simulate

readme: demo ## Bring the README's generated parts up to date
	$(BIN)/python tools/readme.py

tui-demo: $(INSTALLED) ## Record the app from start to verdict as text frames
	$(BIN)/python tools/tui_demo.py docs/tui-demo.txt

screenshots: $(INSTALLED) ## Draw the README's pictures of the app anew
	$(BIN)/python tools/tui_screenshots.py docs

lock: $(INSTALLED) ## Pin what is installed now
	$(BIN)/pip freeze --exclude-editable | grep -viE '^(pip|setuptools|torch)==' > requirements.lock

clean: ## Remove the environment and caches
	rm -rf $(VENV) $(OPTIMUM) .mypy_cache .ruff_cache .pytest_cache .hypothesis
