# One way in: every habit of the house is a target here, and `make` alone lists them.
# The work itself stands in scripts/, Tests/System and Benchmarks/; this file only names it.

SHELL := /bin/bash
.DEFAULT_GOAL := help

SWIFT ?= swift
TOOLS := .build/test-tools
FORMATTED = $(wildcard Package.swift Sources Tests Examples/Package.swift Examples/Sources)

.PHONY: help bootstrap demo demo-refused test test-unit test-system test-features test-refused test-steady test-snippets test-teardown test-instructions test-sanitizers check build \
  release examples docs format lint bench bench-forwarder bench-engine bench-features bench-load bench-lab simulate clean

help: ## list the targets
	@printf 'Millrace: make TARGET\n\n'
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) \
	  | while IFS=$$'\t' read -r name text; do printf '  %-17s %s\n' "$$name" "$$text"; done
	@printf '\nMILLRACE_SYSTEM_TESTS=PATTERN narrows the system tests (a part of file, class or test\n'
	@printf 'name, or a glob); MILLRACE_SYSTEM_ENGINES=epoll takes one engine only.\n'
	@printf 'SEED=n COUNT=n choose what simulate runs; VERBOSE=1 tells the story of one seed.\n'

bootstrap: ## install what building and testing need, if it is missing (apt-get)
	@scripts/bootstrap

demo: bootstrap ## build, then show both engines under load before a real nginx
	@scripts/demo

demo-refused: bootstrap $(TOOLS)/seccomp-deny ## the demo where the kernel refuses io_uring (EPERM)
	@$(TOOLS)/seccomp-deny EPERM scripts/demo

test: ## everything: unit, contract and system tests, on both engines
	@scripts/test

test-unit: bootstrap ## unit and contract tests only (swift test)
	@scripts/test --unit

test-system: ## system tests only: real servers, real clients
	@scripts/bootstrap --test
	@scripts/test --system

test-features: bootstrap ## the contract suite, once for each feature of an engine switched
	@scripts/test-features

test-refused: bootstrap ## system tests with engine auto, io_uring refused by EPERM, then by ENOSYS
	@scripts/test --refused

simulate: ## the whole proxy in seeded worlds: SEED=1 COUNT=1000; SEED=n COUNT=1 VERBOSE=1 replays
	@scripts/simulate "$(or $(SEED),1)" "$(or $(COUNT),1000)" $(VERBOSE)

test-steady: ## count malloc, free, retain and release per hot operation: all must be zero
	@scripts/steady-state

test-snippets: ## what must not compile does not, with the words that it should
	@scripts/snippets

test-teardown: ## end engines in the middle of everything, 3000 times each
	@scripts/teardown

test-instructions: ## user instructions of the proxy per request, against what was recorded
	@scripts/bootstrap --test
	@$(SWIFT) build -c release --product millrace
	@scripts/instructions

test-sanitizers: ## the same and the contract suite under the address sanitizer, and valgrind (minutes)
	@scripts/sanitizers

check: lint build ## what must hold before a commit: style, and a build

build: ## debug build of everything
	@$(SWIFT) build

# A folder of its own: the flags differ from those of the tests' build, which would be made anew each time.
RELEASE = --scratch-path .build-release --static-swift-stdlib
release: ## optimised build of the proxy, Swift's libraries in it; prints where it is
	@$(SWIFT) build -c release --product millrace $(RELEASE)
	@printf '%s/millrace\n' "$$($(SWIFT) build -c release $(RELEASE) --show-bin-path)"
	@printf 'It needs OpenSSL 3, libyaml and libnghttp2 where it runs, and no Swift.\n'

examples: ## build the examples of the library (Examples/)
	@rm -f Examples/.build/debug.yaml # or files that are new in the library would not be seen
	@$(SWIFT) build --package-path Examples

docs: ## the documentation of the library, as a site in .build/docs
	@scripts/docs

format: ## rewrite the sources in the house style
	@$(SWIFT) format format --in-place --parallel --recursive $(FORMATTED)

lint: ## report what breaks the house style, undocumented symbols, traps without a reason, arrows
	@$(SWIFT) format lint --strict --parallel --recursive $(FORMATTED)
	@scripts/check-traps --self-test
	@scripts/check-traps
	@scripts/check-documentation
	@scripts/check-arrows --self-test
	@scripts/check-arrows

bench: bootstrap ## the campaign: both engines and every other proxy found, five workloads (25 minutes)
	@$(SWIFT) build -c release --product millrace
	@Benchmarks/campaign/run $(ARGS)

bench-forwarder: bootstrap ## side by side with nginx and with a bare forwarder
	@Benchmarks/run

bench-engine: bootstrap ## the engine as a library: beside C with liburing, SwiftNIO, pread, cp, nginx
	@Benchmarks/engine/run $(ARGS)

bench-features: bootstrap ## every optional feature of the engines on and off, where it can matter
	@Benchmarks/features/run $(ARGS)

bench-load: bootstrap ## the load generator beside wrk: load offered, CPU per request
	@$(SWIFT) build -c release --product millrace
	@Benchmarks/load/run $(ARGS)

bench-lab: bootstrap ## is it true what the lab says: a known cost, no difference, a planned rate (half an hour)
	@$(SWIFT) build -c release --product millrace
	@Benchmarks/lab/run $(ARGS)

clean: ## remove what was built
	@rm -rf .build .build-release Examples/.build
	@find Tests Benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(TOOLS)/seccomp-deny: Tests/System/seccomp-deny.c
	@mkdir -p $(TOOLS)
	@$(or $(CC),cc) -O1 -Wall -Wextra -Werror -o $@ $<
