# Everything a newcomer or CI needs. Rust, Go, a C compiler, git and make are all that is asked for.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo
BIN := $(or $(CARGO_TARGET_DIR),target)/debug

.PHONY: help tools build demo lab test bench load fuzz fmt lint generate deny clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

tools: ## build kube-apiserver, etcd, kubectl, helm and a registry from Go modules, once, into the user's cache
	@tests/tools/build.sh >/dev/null
	@tests/tools/registry/build.sh >/dev/null

build: ## build the binaries: d8, d8-operator, d8-rpp, d8-lab
	@$(CARGO) build --workspace --bins

demo: tools build ## a real cluster's control plane, the whole chain, a story of fifteen steps; then it is gone
	@$(BIN)/d8-lab demo

lab: tools build ## the same chain to play with; Ctrl-C takes it down
	@$(BIN)/d8-lab lab

test: fmt lint tools build ## everything CI runs: format, lints, unit, integration and end-to-end tests
	@$(CARGO) test --workspace --no-fail-fast

bench: ## how long decisions take, and how that grows
	@$(CARGO) bench -p d8-tests --bench decisions

fuzz: ## look for hostile input, FUZZ_SECONDS (20) a target (needs a C++ compiler)
	@tests/fuzz/run.sh

load: ## two hundred clients at the proxy for half a minute
	@$(CARGO) test --workspace --test load -- --ignored --nocapture

fmt: ## check the format
	@$(CARGO) fmt --all -- --check

lint: ## clippy, warnings are errors
	@$(CARGO) clippy --workspace --all-targets -- -D warnings

generate: ## write the files that code generates (CRDs)
	@$(CARGO) run -q -p d8-crds --example crds >charts/d8-operator/templates/.crds.yaml
	@mv charts/d8-operator/templates/.crds.yaml charts/d8-operator/templates/crds.yaml

deny: ## licences, duplicates and sources of dependencies (needs cargo-deny)
	@$(CARGO) deny check licenses bans sources

clean: ## remove what was built here
	@$(CARGO) clean
