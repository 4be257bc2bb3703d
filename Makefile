# Nothing has to be there before but Python 3.11 to 3.13, make and git.
# Every command installs what it needs into a fresh virtual environment, once.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# The venv is ready when this file is newer than what decides its contents.
READY  := $(VENV)/.ready

# make results: the grid, how many of the 30 paragraphs (more: narrower intervals), and anything else for papermill,
# e.g. PARAMETERS="-p device cuda -p dtype bfloat16"
GAMMAS       ?= [1, 2, 3, 4, 5, 6, 7, 8]
TEMPERATURES ?= [0.0, 1.0]
PROMPTS      ?= 6
PARAMETERS   ?=

# make measure: for instance MEASURE="--prompts 20"
MEASURE ?=

# Tests and notebooks run beside each other, one thread each: two threads of two processes on two cores wait for each other.
PARALLEL := OMP_NUM_THREADS=1

# make bench: for instance BENCH="--pairs pocket --prompts 20"
BENCH ?=

# make batches: for instance BATCHES="--turns 4 --out results/batches.json"
BATCHES ?=

# make gpu: for instance GPU="--parts tests pocket"
GPU ?=

# make pair: the folder with the sentence pairs, or "download"; target tokens to train on, on what, where to write, sizes
DATA    ?= download
TOKENS  ?= 9100000
DEVICE  ?= cpu
OUT     ?= $(HOME)/.cache/specdec-lite/pair
SIZES   ?= -p width 256 -p shallow_layers 4 -p growth 3 -p draft_layers 2 -p written_tokens 400000 -p taught_tokens 600000

.PHONY: help book execute status look proofread results measure test test-long lines bench batches gpu pair drafts repository clean

help:
	@echo "make book              build the book; says where its first page is"
	@echo "make results           run the gamma experiment: results/results.csv and three figures (GAMMAS= TEMPERATURES= PROMPTS=)"
	@echo "make bench             speed beside Hugging Face's own loops: results/bench.md and bench.csv (BENCH= options)"
	@echo "make measure           measure the pocket pair once more: a session for the table that every page quotes (MEASURE=)"
	@echo "make batches           speed against the size of the batch, as chapter 10 shows it: some four minutes (BATCHES= options)"
	@echo "make gpu               on a machine with one: its tests and every table, in nine minutes: results/gpu.json (GPU= options)"
	@echo "make test              lint, unit tests, and every notebook against its stored outputs"
	@echo "make test-long         every unit test, also those that take long: all families of models (a quarter of an hour)"
	@echo "make lines             how long the modules are that carry the ideas"
	@echo "make execute           run the notebooks again and store their outputs (NOTEBOOKS=… for some)"
	@echo "make look              look at the built book in a browser: errors, contrast, code cut off, weight (needs Chromium and npm)"
	@echo "make proofread         words that no dictionary has, and sentences that are hard to say (PAGES=\"README 03\" for some)"
	@echo "make status            write the page that says what ran on what, and how much is tested"
	@echo "make pair              train the pocket pair (DATA= TOKENS= DEVICE= OUT= SIZES=)"
	@echo "make drafts            train drafts of other sizes for it, and with parts of the recipe left out (DATA= DRAFTS= options)"
	@echo "make repository URL=…  say where this repository lives"
	@echo "make clean             remove the environment and the built book; results/ stays"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11 to 3.13 is needed: make PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[book,test,train]"
	touch $@

book: $(READY)
	$(BIN)/python tools/vendor.py
	$(BIN)/jupyter-book build . --all -n -W --keep-going
	@echo "The book: file://$(CURDIR)/_build/html/index.html"

execute: $(READY)
	$(BIN)/python tools/execute.py $(NOTEBOOKS)

status: $(READY)
	$(BIN)/python tools/status.py

# Not part of `make test`: it needs a browser. LOOK="--shots" keeps screenshots, LOOK="--pages preface" looks at one page.
look: book
	$(BIN)/python tools/look.py $(LOOK)

# The dictionary is no part of the environment; without a network the report is about sentences only.
proofread: $(READY)
	-$(BIN)/python -m pip install --quiet "pyspellchecker>=0.8"
	@$(BIN)/python tools/proofread.py $(PAGES)

results: $(READY)
	mkdir -p results
	$(BIN)/papermill -k python3 notebooks/05_gamma_experiment.ipynb results/05_gamma_experiment.ipynb \
		-p results_dir results -p prompts $(PROMPTS) -y "gammas: $(GAMMAS)" -y "temperatures: $(TEMPERATURES)" $(PARAMETERS)
	@echo "Results:" results/*.csv results/*.png

bench: $(READY)
	$(BIN)/python benchmarks/bench.py --out results $(BENCH)

# A session is added, none is replaced: pages quote the median over all of the newest machine's.
measure: $(READY)
	$(BIN)/python benchmarks/measure.py $(MEASURE)
	$(BIN)/python tools/draw.py
	$(BIN)/python tools/quote.py
	@echo "Quoted: README.md, book/, and the drawings. make execute runs the chapters again."

batches: $(READY)
	$(BIN)/python benchmarks/batches.py $(BATCHES)

# No environment is made: it takes the torch, transformers and pytest that the machine has for its GPU.
gpu:
	PYTHONPATH=. $(PYTHON) benchmarks/gpu.py $(GPU)

# Files go to the workers in their order: the one that compiles for real, with few tests, would else come last and alone.
test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(PARALLEL) $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder tests
	$(PARALLEL) $(BIN)/python -m pytest -n auto --dist loadfile --nbval notebooks

# TESTS="tests/test_families.py" for some.
TESTS ?= tests

test-long: $(READY)
	$(PARALLEL) $(BIN)/python -m pytest -n auto --dist loadfile --long $(TESTS)

# Small enough to read in an evening: they stay under 1,200 lines together.
CORE := texts sampling verification decoder adjustment drafting/base record checking generation

lines:
	@wc -l $(CORE:%=specdec_lite/%.py)

pair: $(READY)
	mkdir -p "$(OUT)"
	$(BIN)/papermill -k python3 notebooks/A1_train_the_pocket_pair.ipynb "$(OUT)/A1_train_the_pocket_pair.ipynb" \
		-p data "$(DATA)" -p tokens "$(TOKENS)" -p device "$(DEVICE)" $(SIZES) \
		-p checkpoints "$(OUT)/checkpoints" -p out "$(OUT)"

# The folder DATA is the one that `make pair` leaves in $(OUT)/checkpoints/data. DRAFTS="--only layers_1 --tokens 600000"
DRAFTS ?=

drafts: $(READY)
	$(BIN)/python benchmarks/draft_sizes.py "$(DATA)" --out "$(OUT)/drafts" $(DRAFTS)

repository:
	$(PYTHON) tools/repository.py "$(URL)"

# results/ stays: a sweep can take hours and goes on where it stopped.
clean:
	rm -rf $(VENV) _build book/assets/vendor *.egg-info
