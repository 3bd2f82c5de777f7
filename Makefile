# Every task of the project; `make help` lists them. The first call of any sets up .venv, later calls install nothing.
#
#   PYTHON=python3.12     the interpreter that .venv is made with (3.11 or later; python3 by default)
#   TORCH_BACKEND=cpu     PyTorch without CUDA. Remembered in .venv, so the first call is the one that needs it.
#   BENCH_FLAGS=...       flags of benchmarks/bench.py: --whole, --json PATH
#   LOCK_FLAGS=--upgrade  let `make lock` move to newer versions; without it, pins move only where pyproject.toml asks.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
TORCH_BACKEND ?= $(file <$(VENV)/torch-backend)

FIRST_PAGE := _build/html/book/index.html
BOOK_SOURCES := _config.yml _toc.yml book/ $(shell find book -mindepth 1 -not -path '*/.*')
NOTEBOOKS := $(wildcard book/*.ipynb)
ONE_PAGE := _build/pdf/_build/singlehtml
CHROMIUM = $(firstword $(shell command -v chromium chromium-browser google-chrome))
TIMES := $(VENV)/times
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --durations=10
WITHOUT_CUDA := grep -vE '^(nvidia-|cuda-|triton==)'

# Without its bytecode kept, every process of the tests would compile what it imports anew: ten seconds each.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup book pdf epub sphinx quick test lint types fast plain browser unit nbval lab notebooks bench \
	lock requirements dist notes clean

help: ## this list
	@echo "make TARGET, where TARGET is"
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  %-13s %s\n", $$1, $$2 }'

# --- set-up -----------------------------------------------------------------------------------------------------------

setup: $(READY) ## .venv with the pinned requirements and the package itself (the others call it)

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed; this is " + sys.version if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$$(grep '^uv==' requirements.lock)"

$(READY): requirements.lock pyproject.toml | $(BIN)/uv
	@$(MAKE) --no-print-directory --silent requirements > $(VENV)/requirements.txt
	$(BIN)/uv pip sync --python $(BIN)/python $(addprefix --torch-backend ,$(TORCH_BACKEND)) $(VENV)/requirements.txt
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@echo "$(TORCH_BACKEND)" > $(VENV)/torch-backend
	@touch $@

requirements: ## print the pinned requirements that the set-up installs
	@$(if $(filter cpu,$(TORCH_BACKEND)),$(WITHOUT_CUDA),cat) requirements.lock

lock: $(BIN)/uv ## renew requirements.lock from pyproject.toml
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
		--fork-strategy fewest --no-emit-index-url --no-annotate --all-extras $(LOCK_FLAGS) \
		--output-file requirements.lock pyproject.toml

# --- the book ---------------------------------------------------------------------------------------------------------

book: _build/built ## build the book and print the path of its first page
	@echo "The first page of the book: $(CURDIR)/$(FIRST_PAGE)"

# From nothing each time: a cached second build would not repeat the warnings of a first one that failed.
_build/built: $(READY) $(BOOK_SOURCES)
	@rm -rf _build
	$(BIN)/jupyter-book build . -W -n --keep-going -q
	@touch $@

pdf: _build/book.pdf ## print the whole book to _build/book.pdf, by Chromium

# Sphinx puts the one page where the first chapter is, with links as if it were above; those of the ledger's table
# lead to pages of their own.
_build/book.pdf: $(READY) $(BOOK_SOURCES)
	@test -n "$(CHROMIUM)" || { echo "make pdf needs Chromium (Debian: apt install chromium)"; exit 1; }
	@rm -rf $(ONE_PAGE)
	$(BIN)/jupyter-book build . -W -n --keep-going -q --builder custom --custom-builder singlehtml --path-output _build/pdf
	sed -E 's|href="book/[a-z-]+\.html#|href="#|g; s|href="([a-z0-9-]+)\.html"|href="#document-book/\1"|g; s|On this page|Contents|; s|<a [^>]*genindex.html">|<a>|' $(ONE_PAGE)/book/index.html > $(ONE_PAGE)/book.html
	$(CHROMIUM) --headless --disable-gpu $(if $(filter 0,$(shell id -u)),--no-sandbox) --no-pdf-header-footer \
		--generate-pdf-document-outline --virtual-time-budget=600000 \
		--print-to-pdf=$(CURDIR)/$@ file://$(CURDIR)/$(ONE_PAGE)/book.html
	@echo "The whole book: $(CURDIR)/$@"

epub: _build/book.epub ## the whole book for a reader of electronic books; its formulas are set by Chromium

_build/book.epub: $(READY) $(BOOK_SOURCES)
	@test -n "$(CHROMIUM)" || { echo "make epub needs Chromium (Debian: apt install chromium)"; exit 1; }
	@rm -rf _build/epub
	$(BIN)/jupyter-book build . -W -n --keep-going -q --builder custom --custom-builder epub --path-output _build/epub
	@mv _build/epub/_build/epub/book.epub $@
	@echo "The whole book: $(CURDIR)/$@"

# Jupyter Book 1 is in maintenance. Without it the same sources are a Sphinx project, of which this is the proof.
sphinx: $(READY) ## build the book by Sphinx alone, from the configuration that Jupyter Book writes for it
	@rm -rf _build/sphinx && mkdir -p _build/sphinx/source
	git ls-files -z --cached --others --exclude-standard -- _config.yml _toc.yml book CITATION.cff pyproject.toml results studies tests data src \
		| xargs -0 cp --parents --target-directory=_build/sphinx/source
	$(BIN)/jupyter-book config sphinx _build/sphinx/source
	PYTHONPATH=_build/sphinx/source/book/_ext $(BIN)/sphinx-build -W -n --keep-going -q _build/sphinx/source _build/sphinx/html
	@echo "The first page of the book: $(CURDIR)/_build/sphinx/html/book/index.html"

lab: $(READY) ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab book

notebooks: $(READY) ## run every notebook from top to bottom and keep its outputs
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False \
		--ExecutePreprocessor.store_widget_state=False $(NOTEBOOKS)

# --- the tests --------------------------------------------------------------------------------------------------------

quick: $(READY) ## lint, types and the tests that need neither the book nor a browser: 90 seconds on two cores
	@rm -f $(TIMES)
	@$(MAKE) --no-print-directory -j 3 timed-lint timed-types timed-fast
	@cat $(TIMES)

test: $(READY) ## everything that guards the project: lint, types, tests, notebooks, book, browser
	@rm -f $(TIMES)
	@$(MAKE) --no-print-directory -j 2 --output-sync timed-book timed-types timed-lint
	@$(MAKE) --no-print-directory timed-unit
	@$(MAKE) --no-print-directory timed-nbval
	@cat $(TIMES)

# A part of the two above, with its seconds, which they print at the end.
timed-%:
	@start=$$(date +%s) && $(MAKE) --no-print-directory $* && printf '%5d s  %s\n' $$(($$(date +%s) - start)) $* >> $(TIMES)

lint: $(READY) ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(READY) ## type check
	$(BIN)/basedpyright

fast: $(READY) ## pytest, without the tests that are slow or drive a browser
	$(PYTEST) -m "not browser and not slow"

plain: $(READY) ## pytest, without the tests that drive a browser
	$(PYTEST) -m "not browser"

browser: $(READY) _build/built ## pytest, only the tests that drive a browser
	$(PYTEST) -m browser

unit: $(READY) _build/built ## pytest, with the browser tests of the built book where Chromium is present
	$(PYTEST)

nbval: $(READY) ## run the notebooks again and compare the outputs tagged nbval-check-output
	$(PYTEST) --dist loadfile --nbval-lax --nbval-current-env --nbval-cell-timeout=300 \
		--nbval-sanitize-with=tests/nbval-sanitize.cfg $(NOTEBOOKS)

# --- the benchmarks ---------------------------------------------------------------------------------------------------

bench: $(READY) ## times side by side, as one table of ratios: ten minutes on two cores
	$(BIN)/python benchmarks/bench.py $(BENCH_FLAGS)

# --- a release --------------------------------------------------------------------------------------------------------

dist: $(READY) ## build the wheel and the source distribution into dist
	@rm -rf dist
	$(BIN)/uv build --no-build-isolation --quiet

notes: $(READY) ## print what CHANGELOG.md says of this version
	@$(BIN)/python -c 'import re, pruning_core as p; text = open("CHANGELOG.md").read(); print(re.search(rf"## {re.escape(p.__version__)}.*?\n(.*?)(?=\n## |\Z)", text, re.S)[1].strip())'

clean: ## remove the built book and the caches, but neither .venv nor runs
	rm -rf _build .pytest_cache .ruff_cache .hypothesis
	find src tests book -name __pycache__ -prune -exec rm -rf {} +
