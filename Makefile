# `make help` lists what there is. Everything installs into .venv here; outside this folder only caches are written.

# The Python that .venv is made with, and the torch that goes into it. Both count when .venv is first made, so to change
# one later: make clean, then for example  make test TORCH=torch==2.11.0  or a wheel's path, or a build for your GPU.
PYTHON ?= python3
TORCH ?= $(shell grep '^torch==' constraints.txt)

# hwcomponents, which reads exports, needs Python 3.12: the first that is here, pyenv's among them.
EXPORT_PYTHON ?= $(firstword $(foreach python,$(PYTHON) python3.12 python3.13 python3.14 $(wildcard $(HOME)/.pyenv/versions/3.1[2-9]*/bin/python3),\
  $(shell $(python) -c 'import sys; print(sys.executable if sys.version_info >= (3, 12) else "")' 2>/dev/null)))

# More arguments for pytest: make test ARGS="tests/cell -x". They win: ARGS="-n 0 --pdb" runs in one process.
ARGS ?=

# A folder of the authors' own data that reproduction is shown beside: make figures REFERENCE=DIR. docs/reproduction.md
# says which.
REFERENCE ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-oldest test-wheel test-export check docs figures clean

help: ## list these targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 20

demo: .venv/.installed ## put a small language model on the simulated hardware and report, into runs/demo
	.venv/bin/gaincell demo --out runs/demo

# What some tests need besides, where it can be had: programs, and SkyWater's cards (38 MB to fetch, 1 MB kept).
.PHONY: programs
programs: .venv/.installed
	@tests/programs.sh
	@.venv/bin/gaincell circuit fetch >/dev/null || echo "Left out: the tests that need SkyWater's cards." >&2

# A process for each core, four at most: each may take 4 GB of memory. A file's tests stay in one, in their order: they
# share what was costly to make, and the blocks of a page build on each other.
test: .venv/.installed programs ## run the tests, after installing what they need
	.venv/bin/python -m pytest -n logical --maxprocesses 4 --dist loadfile $(ARGS)

test-oldest: .venv-oldest/.installed ## run the model tests with the oldest supported transformers
	@.venv-oldest/bin/python -c 'import transformers; print("transformers", transformers.__version__)'
	.venv-oldest/bin/python -m pytest tests/models -m "not slow" $(ARGS)

# In an environment of its own and from another folder, so that nothing of the checkout is found by chance.
test-wheel: .venv/.installed ## build the wheel and use it in an empty environment
	rm -rf dist .venv-wheel
	.venv/bin/python -m build --wheel --quiet --outdir dist
	$(call make_venv,.venv-wheel,torch)
	.venv-wheel/bin/python -m pip install -c .venv-wheel/constraints.txt dist/gaincell-*.whl
	cd / && $(CURDIR)/.venv-wheel/bin/gaincell doctor
	cd / && $(CURDIR)/.venv-wheel/bin/gaincell cost gpt2 --config extended
	cd / && $(CURDIR)/.venv-wheel/bin/python -c 'import gaincell.models; from gaincell.evaluate import default_text; \
	  assert "site-packages" in gaincell.__file__ and len(default_text()) > 500_000; print("the wheel works")'

# In an environment of its own, without gaincell: the exported package has to do without it.
test-export: .venv/.installed ## let hwcomponents read an exported design point
ifeq ($(EXPORT_PYTHON),)
	@echo "Left out: hwcomponents needs Python 3.12 or newer; name one: make test-export EXPORT_PYTHON=/path/to/python3.12." >&2
else
	rm -rf .venv-export
	"$(EXPORT_PYTHON)" -m venv .venv-export
	@echo '*' >.venv-export/.gitignore
	.venv/bin/gaincell cost gpt2 --export hwcomponents --out .venv-export/exported >/dev/null
	.venv-export/bin/python -m pip install --quiet -c constraints.txt .venv-export/exported/hwcomponents
	.venv-export/bin/python tests/hardware/check_export.py
endif

check: .venv/.installed ## check style and types, build the documentation, run every example
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/basedpyright --pythonpath .venv/bin/python
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet --site-dir .venv/site  # site/ is that of `make docs`
	@set -e; for example in $(wildcard examples/*.py); do echo "$$example"; .venv/bin/python "$$example"; done

docs: .venv/.installed ## write generated pages anew and build the documentation into site/
	.venv/bin/python -m tools.pages parameters
	.venv/bin/python -m tools.pages hardware
	.venv/bin/python -m tools.pages comparison
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet
	$(MAKE) runs/docs/extended.html
	mkdir -p site/reports
	cp runs/docs/extended.html site/reports/

# The report that a reader of the documentation sees. It takes minutes, so it is made where what it shows has changed.
runs/docs/extended.html: src/gaincell/adapters/extended.safetensors docs/data/tasks.json | .venv/.installed
	.venv/bin/gaincell report extended --tasks docs/data/tasks.json --out $@

# Each figure of the pages is a target, as in make figures-panel. They go one by one, in this order: a process of a model
# may take 4 GB. What took hours of learning stays as tools/record_reproduction.py kept it. ngspice, `gaincell circuit
# fetch` and Chromium have to be there; a run that was cut short goes on.
FIGURES := variants published curve families panel tasks samples hardware demo reproduction
.PHONY: $(addprefix figures-,$(FIGURES))
.NOTPARALLEL:

figures: $(addprefix figures-,$(FIGURES)) ## measure anew, in two hours, what the pages show of the shipped adapters and cells

figures-variants: .venv/.installed
	mkdir -p runs/figures/cells
	.venv/bin/gaincell characterize --mismatch 200 --out runs/figures/cells/generic.yaml
	.venv/bin/gaincell characterize --card sky130 --mismatch 200 --out runs/figures/cells/sky130.yaml
	.venv/bin/python -m tools.pages variants runs/figures/cells

figures-published: .venv/.installed
	.venv/bin/python -m tools.pages published measure

figures-curve figures-families figures-samples: figures-%: .venv/.installed
	.venv/bin/python -m tools.pages $*

figures-panel: .venv/.installed
	.venv/bin/gaincell evaluate extended --also leroux2025 --panel --tokens 2048 --out runs/figures/panel
	.venv/bin/python -m tools.pages panel runs/figures/panel

figures-tasks: .venv/.installed
	.venv/bin/gaincell evaluate extended --tasks paper --limit 250 --out runs/figures/tasks
	.venv/bin/python -m tools.pages tasks runs/figures/tasks

figures-hardware: .venv/.installed
	.venv/bin/gaincell cost extended --activity speeches --out runs/figures/cost
	.venv/bin/python -m tools.pages hardware runs/figures/cost

figures-demo: .venv/.installed
	.venv/bin/gaincell demo --out runs/figures/demo
	.venv/bin/python -m tools.pages demo runs/figures/demo
	.venv/bin/python -m tools.pages screenshots runs/figures/demo/report.html

figures-reproduction: .venv/.installed
	.venv/bin/gaincell reproduce $(if $(REFERENCE),--reference "$(REFERENCE)") --out runs/figures/reproduce
	.venv/bin/python -m tools.pages reproduction runs/figures/reproduce

clean: ## remove what make made (.venv, site, caches); runs/ stays
	rm -rf .venv .venv-oldest .venv-wheel .venv-export site dist .pytest_cache .ruff_cache .hypothesis

.venv/.installed: pyproject.toml constraints.txt
	$(call make_venv,.venv,torch)
	.venv/bin/python -m pip install -c .venv/constraints.txt -e '.[dev]'
	@touch $@

.venv-oldest/.installed: pyproject.toml constraints.txt
	$(call make_venv,.venv-oldest,torch|transformers|huggingface_hub|tokenizers)
	.venv-oldest/bin/python -m pip install -c .venv-oldest/constraints.txt -e . 'transformers==5.17.*' 'huggingface-hub<2' \
	  accelerate hypothesis peft pytest pytest-timeout
	@touch $@

# $(call make_venv,FOLDER,PINS): a virtual environment with torch in it, and beside it the constraints less those pins
# (torch's is the TORCH variable's to choose). One sentence where Python is missing, too old, or cannot make one.
define make_venv
	@command -v $(PYTHON) >/dev/null || \
	  { echo "There is no '$(PYTHON)' here; install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "gaincell needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) -V); name a newer one: make PYTHON=python3.12." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "'$(PYTHON)' cannot make virtual environments; install its venv module (Debian, Ubuntu: apt-get install python3-venv)." >&2; exit 1; }
	$(PYTHON) -m venv $(1)
	@echo '*' >$(1)/.gitignore
	@grep -vE '^($(2))==' constraints.txt >$(1)/constraints.txt
	$(1)/bin/python -m pip install -c $(1)/constraints.txt $(TORCH)
endef
