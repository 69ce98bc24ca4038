# Commands for developers and CI. They need Rust, Go, a C compiler, git and make.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo
BIN := $(or $(CARGO_TARGET_DIR),target)/debug

.PHONY: help tools build demo lab test test-page bench simulate load chaos fuzz fmt lint generate deny clean

help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

tools: ## build kube-apiserver, etcd, kubectl, helm and a test registry from Go modules, once, into ~/.cache
	@tests/tools/build.sh control-plane >/dev/null
	@tests/tools/build.sh registry >/dev/null

build: ## build the binaries: d8, d8-operator, d8-rpp, d8-lab
	@$(CARGO) build --workspace --bins

demo: tools build ## play sixteen steps on a real control plane, then remove everything
	@$(BIN)/d8-lab demo

lab: tools build ## start the same cluster to try things; Ctrl-C stops it
	@$(BIN)/d8-lab lab

test: fmt lint tools build ## run everything that CI runs: format, lints, unit, integration and end-to-end tests
	@$(CARGO) test --workspace --no-fail-fast

test-page: tools build ## open the page of `d8 fleet report` in a browser; screenshots in target/fleet-page (needs chromium)
	@$(CARGO) test --workspace --test e2e -- --ignored the_page_in_a_browser
	@ls target/fleet-page

bench: tools ## measure how long decisions take, how that grows with the input, and what an idle agent costs
	@$(CARGO) bench -p d8-tests --bench decisions
	@$(CARGO) build --release -p d8
	@$(CARGO) bench -p d8-tests --bench idle

simulate: ## simulate a week of 10,000 hosts; print the load and draw the waves into target/waves.svg
	@$(CARGO) run --release -q -p d8-simulation

fuzz: ## search for hostile input, FUZZ_SECONDS (default 20) per target (needs a C++ compiler)
	@tests/fuzz/run.sh

load: ## run two hundred clients against the proxy for half a minute
	@$(CARGO) test --workspace --test load -- --ignored --nocapture

chaos: ## let faults happen to ten agents for CHAOS_SECONDS (default 600); CHAOS_SEED repeats a run
	@CHAOS_SECONDS=$${CHAOS_SECONDS:-600} $(CARGO) test --workspace --test chaos -- --nocapture

fmt: ## check the format of the code
	@$(CARGO) fmt --all -- --check

lint: ## run clippy; warnings are errors
	@$(CARGO) clippy --workspace --all-targets -- -D warnings

generate: ## write the generated files (CRDs of the chart, JSON Schema of contracts)
	@$(CARGO) run -q -p d8-crds --example crds >charts/d8-operator/templates/.crds.yaml
	@mv charts/d8-operator/templates/.crds.yaml charts/d8-operator/templates/crds.yaml
	@$(CARGO) run -q -p d8-crds --example contract >docs/.contract.schema.json
	@mv docs/.contract.schema.json docs/contract.schema.json

deny: ## check licences, duplicates and sources of dependencies (needs cargo-deny)
	@$(CARGO) deny check licenses bans sources

clean: ## remove the build output of cargo
	@$(CARGO) clean
