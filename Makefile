# Commands of the project; needs Python 3.11 or newer and make, nothing else.
#
#   make demo    tune XGBoost on real flights and show the result
#   make test    lint, types and all tests
#   make check   lint, types and the tests that need neither Ray nor a framework
#   make lint    ruff and mypy only
#   make bench   measure against the goals; ends non-zero when one is missed
#   make bench-search  compare searchers on tables of real trainings (an hour; goes on where it was broken off)
#   make docs    build the documentation into docs/_build/html
#   make clean   remove everything that these commands made
#
# Each makes the environment .venv as far as it needs it. The checkout is installed in editable form, so sources
# take effect at once; packages are installed anew only when pyproject.toml or constraints.txt changed.
#
# `make check PYTHON=python3.13` (or a path) works in an environment of its own, .venv-python3.13, beside the others.

PYTHON ?= python3
# The version is asked for, not read from the name: two paths may both end in `python3`. Nothing where it cannot run;
# the rule that makes the environment says so.
ifneq ($(origin PYTHON),file)
  VENV ?= .venv-python$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
endif
VENV ?= .venv
VENV := $(VENV)
BIN := $(abspath $(VENV))/bin
STAMPS := $(VENV)/.stamps
RECIPE := pyproject.toml constraints.txt
# `make check` alone does without PyTorch, which brings a few gigabytes on Linux, unless it is there already.
DEV := $(if $(and $(filter check,$(MAKECMDGOALS)),$(if $(wildcard $(STAMPS)/dev),,yes)),dev-light,dev)
# A folder for each environment, so that `make lint` can run on several Pythons at once.
BUILD := build/$(patsubst .%,%,$(notdir $(abspath $(VENV))))
SOURCE := $(BUILD)/source
WHEEL := $(BUILD)/wheel
INSTALLED := $(BUILD)/installed
PYTEST_ARGS ?=
BENCH_ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check lint bench bench-search docs clean

help:
	@sed -n 's/^#   make/make/p' $(firstword $(MAKEFILE_LIST))

demo: $(STAMPS)/demo
	$(BIN)/python examples/xgboost_flights.py

test: $(STAMPS)/dev lint
	$(BIN)/python tests/run.py $(PYTEST_ARGS)

check: $(STAMPS)/$(DEV) lint
	$(BIN)/python tests/run.py --fast $(PYTEST_ARGS)

# mypy looks at the installed wheel, not at the checkout, for two reasons. The folder integrations/ becomes
# tune_plugins.integrations only by the build, which a static checker cannot know. And users' checkers see the
# wheel: a module or py.typed that the build forgets fails here. It runs from inside the installation because
# mypy prefers what lies in the current folder. The wheel is built from a copy because the build leaves folders beside
# the sources.
lint: $(STAMPS)/$(DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	@rm -rf $(SOURCE) $(WHEEL) $(INSTALLED) && mkdir -p $(SOURCE) $(WHEEL)
	@cp -R pyproject.toml README.md LICENSE tune_plugins integrations $(SOURCE)
	@echo "mypy --strict on the installed wheel"
	@$(BIN)/python -m build --wheel --no-isolation --outdir $(WHEEL) $(SOURCE) > $(WHEEL)/build.log 2>&1 \
		|| { cat $(WHEEL)/build.log; exit 1; }
	@$(BIN)/python -m pip install --quiet --no-deps --no-compile --target $(INSTALLED) $(WHEEL)/*.whl
	@cd $(INSTALLED) && $(BIN)/python -m mypy --config-file $(CURDIR)/pyproject.toml \
		--cache-dir $(CURDIR)/.mypy_cache/$(notdir $(BUILD)) -p tune_plugins

bench: $(STAMPS)/bench
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

bench-search: $(STAMPS)/bench
	$(BIN)/python -m benchmarks.search $(BENCH_ARGS)

docs: $(STAMPS)/docs
	$(BIN)/python -m sphinx -E -W --keep-going -n -q -b html docs docs/_build/html
	@echo "documentation: docs/_build/html/index.html"

clean:
	rm -rf $(VENV) .venv-* build dist *.egg-info docs/_build docs/generated benchmarks/output examples/output \
		.mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMPS)/venv:
	@$(PYTHON) -c '' 2>/dev/null || { echo "$(PYTHON) is not there or does not run." \
		"Use: make PYTHON=/path/to/python3.11 (or 3.12, 3.13)"; exit 1; } >&2
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit( \
		f"Python 3.11 or newer is needed, {sys.executable} is {v.major}.{v.minor}. Use: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/demo $(STAMPS)/dev $(STAMPS)/dev-light $(STAMPS)/bench $(STAMPS)/docs: $(STAMPS)/%: $(STAMPS)/venv $(RECIPE)
	@echo "installing what 'make $*' needs; the first time this fetches several hundred MB"
	$(BIN)/python -m pip install -c constraints.txt -e '.[$*]'
	@touch $@
