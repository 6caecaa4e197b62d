# Two commands matter: `make book` and `make test`. Each sets up .venv itself.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1
export TQDM_DISABLE ?= 1
# Warnings are errors: a broken reference or a figure without a file fails.
BUILD := $(BIN)/jupyter-book build --all -W -n --keep-going .
# A cell may take as long as it needs; 20 minutes catch one that hangs.
NBVAL := $(BIN)/pytest --nbval --nbval-current-env --nbval-cell-timeout 1200
WORKERS ?= 2

# Each takes two cores by itself, and some need what others leave.
.NOTPARALLEL:
.PHONY: help book test lint unit site-test pdf chapters notebooks execute \
  spread costs bench lab clean

help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-9s %s\n", $$1, $$2}' \
	  $(MAKEFILE_LIST)

book: .venv/ready ## Build the site from the stored outputs: _build/html/index.html
	@echo "Building the site into _build/html: about a minute"
	rm -rf _build
	$(BUILD)
	touch _build/done

test: .venv/ready ## Everything, whatever fails before: lint, build, package tests, chapters run again
	@MAKE="$(MAKE)" $(BIN)/python code/tools/parts.py lint book unit chapters

lint: .venv/ready ## Check the style of all code, the chapters' too
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

unit: .venv/ready ## Test the package and the tools
	$(BIN)/pytest -n $(WORKERS) --ignore code/tests/browser code/tests

site-test: .venv/ready ## Look at the built site in Chromium: every page, axe, Lighthouse
	test -f _build/done || $(MAKE) book
	$(BIN)/pytest -n 2 code/tests/browser
	$(BIN)/python code/tools/lighthouse.py

pdf: .venv/ready ## Print the built site by Chromium: _build/dilated-convolution.pdf
	test -f _build/done || $(MAKE) book
	$(BIN)/python code/tools/pdf.py

chapters: .venv/ready ## Run every chapter again and compare with its stored outputs
	$(NBVAL) -n $(WORKERS) --dist loadfile chapters

notebooks: .venv/ready ## Write the readers' notebooks anew from the text and the stored outputs
	$(BIN)/python code/tools/notebooks.py $(NAMES)

execute: .venv/ready ## Run chapters on this machine and store their outputs; NAMES="operator ..." for some
	$(BIN)/python code/tools/execute.py $(NAMES)

spread: .venv/ready ## Measure how far results move under other numerics; an hour or two; NAMES="operator ..." for some
	$(BIN)/python code/tools/spread.py $(NAMES)

costs: .venv/ready ## Measure what each chapter takes here, in time and memory, one after the other
	$(NBVAL) --store-costs chapters

bench: .venv/ready ## Measure how long convolutions and networks take here, as ratios, and store them; about half an hour
	$(BIN)/python code/benchmarks/speed.py

lab: .venv/ready ## Open the chapters in JupyterLab
	env -u TQDM_DISABLE -u OMP_NUM_THREADS $(BIN)/jupyter lab chapters

clean: ## Remove what was built, the .venv too
	rm -rf .venv _build .pytest_cache .ruff_cache .hypothesis
	find . \( -name __pycache__ -o -name node_modules -o -name .ipynb_checkpoints \) \
	  -type d -prune -exec rm -rf {} +

.venv/ready: requirements.lock assets.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	  sys.exit(None if (3, 11) <= v <= (3, 13) else \
	  f"Python 3.11, 3.12 or 3.13 is needed, this is {v[0]}.{v[1]}: " \
	  "make PYTHON=python3.12 ...")'
	@echo "Installing the versions of requirements.lock into .venv, once:" \
	  "a minute or two, longer where packages are downloaded first"
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes \
	  -r assets.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@# Matplotlib reports the first building of its font list as a warning.
	$(BIN)/python -c 'import matplotlib.font_manager' 2> /dev/null
	touch $@
