PYTHON ?= python3
BIN := .venv/bin

BENCHMARKS := results time_to_accuracy few_shot label_names heads weak spans preparation detection ceiling http_overhead serving wheel_cost during_turn shards erasure private_head vault experiments review feedback wheel harmful

# Of benchmarks only what breaks when the product changes is checked: names, attributes, arguments of calls.
LOOSE := $(patsubst %,--disable-error-code=%,arg-type assignment list-item misc no-any-return no-untyped-call no-untyped-def operator type-arg union-attr unused-ignore)

.PHONY: demo test test-slow lint format docs bench clean

demo: .venv/.installed  ; $(BIN)/millwright demo
# Two processes, one thread each: tests are single-threaded Python for the most part. A module stays in one process.
test: .venv/.ready  ; OMP_NUM_THREADS=1 $(BIN)/pytest -q -m "not slow" -n 2 --dist loadscope --no-loadscope-reorder
test-slow: .venv/.ready  ; $(BIN)/pytest -q -m slow
lint: .venv/.ready  ; $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/mypy src/millwright benchmarks/*.py $(LOOSE) && $(BIN)/pydoclint -q src/millwright
format: .venv/.ready  ; $(BIN)/ruff check --fix . && $(BIN)/ruff format .
docs: .venv/.ready  ; $(BIN)/python docs/generate.py
# One that fails is named at the end, and the others are measured.
bench: .venv/.ready  ; for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py || failed="$$failed $$name"; done; $(BIN)/python benchmarks/pages.py && test -z "$$failed" || { echo "failed:$$failed"; exit 1; }
clean:  ; rm -rf .venv .bench .coverage .mypy_cache .pytest_cache .ruff_cache demo dist build

# PyTorch goes first, pinned: what asks for it later then finds it.
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Millwright needs Python 3.11 or newer, this is " + sys.version + "; set PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

# What tests, lint and docs need beside it.
.venv/.ready: .venv/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
