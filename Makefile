# `make run` shows it, `make test` tests it; `make help` lists the rest.
#
# DUCKDB_LIB_DIR=/somewhere/lib  uses that libduckdb and fetches none.
# FEATURES=bundled               compiles DuckDB instead of linking it (over twenty minutes on two cores).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo
PYTHON ?= python3
FEATURES ?=
VENV := .venv
flags := --locked $(if $(FEATURES),--features $(FEATURES))
# The release binaries serve the tests too: what is killed and traced is what is shipped.
export TEST_BIN_DIR := $(CURDIR)/target/release
export TEST_PYTHON := $(CURDIR)/$(VENV)/bin/python

.PHONY: help run build test test-catalog fuzz lint bench bench-catalog bench-tables bench-beside bench-week readers beside duckdb venv clean

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 15

run: build ## Start a lake in ./lake, feed it a sample, query it. ARGS=--once ends after that.
	@target/release/lakectl demo $(ARGS)

build: duckdb ## Build target/release/laked and lakectl.
	$(CARGO) build --release $(flags) --bins

test: build venv ## Run every test.
	$(CARGO) test --workspace $(flags)

lint: duckdb ## Check format, lints and docs.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets $(flags) -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --workspace --no-deps --document-private-items $(flags)

bench: build venv ## Measure against PyIceberg and DuckDB. ARGS="--users 500" for a small run.
	$(CARGO) build --release $(flags) --example load
	$(VENV)/bin/python tests/bench/run.py $(ARGS)

test-catalog: build ## Run the Iceberg REST Compatibility Kit, on SQLite and PostgreSQL. Needs Maven and Java 17 or newer.
	$(PYTHON) tests/catalog/rck/run.py $(ARGS)

bench-catalog: duckdb ## Measure the catalog, and the reference server beside it (Maven, Java 17 or newer; ARGS=--alone: without).
	$(CARGO) build --release $(flags) --bin laked --example catalog_load
	@$(PYTHON) tests/bench/catalog.py $(ARGS)

fuzz: ## A million wrong request bodies against the catalog: no 500, no panic. FUZZ_FIRST, FUZZ_CASES choose others.
	FUZZ_FIRST=$${FUZZ_FIRST:-20000} FUZZ_CASES=$${FUZZ_CASES:-1000000} \
	$(CARGO) test --release -p laked-catalog --lib --features simulation $(flags) no_body_makes_a_500 -- --nocapture

bench-tables: build venv ## Measure maintenance: expiry, compaction, planning. ARGS=--peers: compaction beside Trino and Spark.
	$(CARGO) build --release $(flags) --example expire_cost --example compact_cost --example plan_cost
ifeq ($(ARGS),--peers)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/requirements-readers.txt
	@$(VENV)/bin/python tests/bench/compaction.py
else
	@target/release/examples/expire_cost
	@target/release/examples/compact_cost target/release/lakectl
	@$(VENV)/bin/python tests/bench/tables.py
endif

bench-beside: build ## Measure what ingestion keeps while the schedule looks after tables. ARGS="--seconds 20" for a short run.
	@$(PYTHON) tests/bench/beside.py $(ARGS)

bench-week: duckdb ## A table that takes a commit a second for a simulated week, in memory. ARGS="1 FOLDER" for a day elsewhere.
	$(CARGO) build --release $(flags) --example week_cost
	@target/release/examples/week_cost $(or $(ARGS),7 /dev/shm)

readers: build venv ## Trino, Spark, PyIceberg and DuckDB on one lake. Needs Maven, Java 17 and Java 22 or newer.
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/requirements-readers.txt
	$(VENV)/bin/python tests/readers/everywhere.py $(ARGS)

beside: build venv ## PyIceberg appends and deletes beside compaction, for BESIDE_SECONDS (300).
	BESIDE_SECONDS=$(or $(BESIDE_SECONDS),300) $(CARGO) test $(flags) --test it -- beside_compaction --nocapture

duckdb: ## Fetch libduckdb into .duckdb/lib, unless DUCKDB_LIB_DIR is set or FEATURES=bundled.
	@$(if $(filter bundled,$(FEATURES)),mkdir -p .duckdb/lib,.ci/duckdb)

venv: $(VENV)/installed ## Install the Python clients of the tests into .venv.

$(VENV)/installed: tests/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	touch $@

clean: ## Remove what was built; keep .duckdb, .venv and ./lake.
	$(CARGO) clean
