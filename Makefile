# SPDX-License-Identifier: Apache-2.0
# On a fresh Debian machine, as root: `make demo` shows the main job, `make test` runs every test.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SERVERS := pebble knot knot-dnsutils knot-dnssecutils unbound bind9-utils bind9-dnsutils nsd \
	pdns-server pdns-backend-sqlite3 nginx-light strace systemd curl openssl fuse3

.DEFAULT_GOAL := help
.PHONY: help demo test check oldest soak mutate bench clean servers

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/ready servers ## Watch an enclave get a certificate that its host cannot get
	$(BIN)/python -m tests.demo

test: $(VENV)/ready .venv-localstack/ready servers ## Run every test, with samples of the long jobs (under 10 minutes)
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not soak"

check: $(VENV)/ready ## Lint, types, unit tests, docs; no servers (under 3 minutes)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit -n 2 -m "not soak"

oldest: .venv-oldest/ready servers ## Run the tests that touch dependencies with the oldest ones
	.venv-oldest/bin/python -m pytest -q -n 2 -m "not soak" tests/unit \
		tests/functional/enclave/test_issuance.py tests/functional/enclave/test_certbot.py \
		tests/functional/enclave/test_account_rules.py

soak: $(VENV)/ready .venv-localstack/ready servers ## Run the exhaustive jobs
	$(BIN)/python -m pytest -m soak

mutate: $(VENV)/ready servers ## Remove each check in turn; a test must turn red
	$(BIN)/python -m tests.mutate

bench: $(VENV)/ready servers ## Measure against peers, as ratios
	@sh tests/support/system_packages.sh dnsperf
	$(BIN)/python -m benchmarks.run

clean: ## Remove what these targets made
	rm -rf $(VENV) .venv-oldest .venv-localstack build *.egg-info .mypy_cache .ruff_cache .hypothesis

servers:
	@sh tests/support/system_packages.sh $(SERVERS)

.venv-oldest/ready: setup.py tests/oldest.txt $(VENV)/ready
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install -q --disable-pip-version-check \
		--root-user-action ignore -c tests/oldest.txt -e '.[dev]'
	@touch $@

.venv-localstack/ready: tests/localstack.txt $(VENV)/ready
	$(PYTHON) -m venv .venv-localstack
	.venv-localstack/bin/python -m pip install -q --disable-pip-version-check \
		--root-user-action ignore -r tests/localstack.txt
	@touch $@

$(VENV)/ready: setup.py
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| sh tests/support/system_packages.sh python3 python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --root-user-action ignore -e '.[dev]'
	@touch $@
