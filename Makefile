# Everything runs in .venv, which is made if it is missing. You need only Python 3.11 or later and make.

PYTHON ?= python3
BIN := .venv/bin
DEMO := .demo
# Processes that share the tests; `make test JOBS=8` on a machine with more cores.
JOBS ?= 2
PYTEST = -m pytest -n $(JOBS) --dist worksteal
# Tests of a cluster start one for all of them, which uses all processors: they run alone.
ALONE = -m pytest

.PHONY: help demo test quick cluster test-all coverage check format golden docs bench results clean

help:  ## Show the targets.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("dataprep needs Python 3.11 or later" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

.venv/.run: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/.train: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,tokens,plots]'
	@touch $@ .venv/.run

.venv/.dev: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ .venv/.run .venv/.train

.venv/.bench: .venv/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

demo: .venv/.train  ## Convert, merge and clean the samples, train a tiny student, report; in .demo/.
	@rm -rf $(DEMO)
	$(BIN)/dataprep init $(DEMO)
	$(BIN)/dataprep convert gsm8k --workspace $(DEMO)
	$(BIN)/dataprep convert mbpp --workspace $(DEMO)
	$(BIN)/dataprep convert squad --workspace $(DEMO)
	$(BIN)/dataprep merge --seed 42 --workspace $(DEMO)
	$(BIN)/dataprep validate $(DEMO)/mergedata/train.jsonl $(DEMO)/mergedata/test.jsonl
	$(BIN)/dataprep decontaminate $(DEMO)/mergedata/train.jsonl --against $(DEMO)/mergedata/test.jsonl -o $(DEMO)/decontaminated.jsonl
	$(BIN)/dataprep dedup $(DEMO)/decontaminated.jsonl -o $(DEMO)/clean.jsonl
	$(BIN)/dataprep stats $(DEMO)/clean.jsonl
	@echo; $(BIN)/dataprep head $(DEMO)/clean.jsonl -n 2
	$(BIN)/dataprep train $(DEMO)/clean.jsonl --eval $(DEMO)/mergedata/test.jsonl --epochs 12 --eval-every 20 -o $(DEMO)/student
	$(BIN)/dataprep verify $(DEMO)/clean.jsonl
	$(BIN)/dataprep report $(DEMO)/clean.jsonl --against $(DEMO)/mergedata/test.jsonl -o $(DEMO)/report.html

test: .venv/.dev  ## The tests that every change must pass: 6 minutes on two cores.
	$(BIN)/python $(PYTEST) -m 'not slow and not cluster'
	$(BIN)/python $(ALONE) -m 'cluster and not slow'

quick: .venv/.dev  ## The short ones of these, and fewer examples of each property: 2 minutes.
	$(BIN)/python $(PYTEST) -m 'not slow and not medium and not cluster' --hypothesis-profile quick

cluster: .venv/.dev  ## The tests of --cluster and of object stores, which `make test` has too: a minute.
	$(BIN)/python $(ALONE) -m 'cluster and not slow'

test-all: .venv/.dev  ## All tests, with more examples, long comparisons, kill series and other programs' servers.
	$(BIN)/python $(PYTEST) -m 'not cluster' --hypothesis-profile thorough
	$(BIN)/python $(ALONE) -m cluster --hypothesis-profile thorough

# A test with a time limit may fail here, because measuring takes time; the figures are right all the same.
coverage: .venv/.dev  ## The line coverage of `make test`, by file.
	$(BIN)/coverage erase
	-$(BIN)/coverage run $(PYTEST) -m 'not slow and not cluster'
	-$(BIN)/coverage run $(ALONE) -m 'cluster and not slow'
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: .venv/.dev  ## Lint, format, types, import contracts, prose.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python docs/prose.py

format: .venv/.dev  ## Format the code and fix what the linter can fix.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

golden: .venv/.dev  ## Write tests/golden/*/expected.jsonl again; read the difference before you commit it.
	$(BIN)/python -m tests.golden

docs: .venv/.train  ## Update the help texts in docs/commands/, and the picture in the README.
	$(BIN)/python docs/build.py
	$(BIN)/python docs/picture.py

bench: .venv/.bench  ## Measure speed and memory against what users would use instead.
	$(BIN)/python -m benchmarks

results: .venv/.bench  ## Train and measure real models, and write docs/results.md; about two hours, and resumable.
	$(BIN)/python -m benchmarks.results

clean:  ## Remove everything that make wrote, also .venv.
	rm -rf .venv .coverage* $(DEMO) .results dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
