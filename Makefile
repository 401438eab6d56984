# Entry points for building, testing and measuring; `make` without a target lists them.
# The work is done by scripts/, Tests/System and Benchmarks/.

SHELL := /bin/bash
.DEFAULT_GOAL := help

SWIFT ?= swift
TOOLS := .build/test-tools
FORMATTED = $(wildcard Package.swift Sources Tests Examples/Package.swift Examples/Sources)

.PHONY: help bootstrap demo demo-refused test test-unit test-system test-features test-refused clients test-steady test-snippets test-teardown test-instructions test-sanitizers test-day check build \
  release install uninstall deb test-deb examples docs reference format lint bench bench-forwarder bench-engine bench-features bench-load bench-lab simulate clean

help: ## list the targets
	@printf 'Millrace: make TARGET\n\n'
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) \
	  | while IFS=$$'\t' read -r name text; do printf '  %-17s %s\n' "$$name" "$$text"; done
	@printf '\nMILLRACE_SYSTEM_TESTS=PATTERN narrows the system tests (a part of file, class or test\n'
	@printf 'name, or a glob); MILLRACE_SYSTEM_ENGINES=epoll takes one engine only.\n'
	@printf 'SEED=n COUNT=n select the seeds of simulate; VERBOSE=1 prints the trace of one seed.\n'

bootstrap: ## install missing build and test dependencies (apt-get)
	@scripts/bootstrap

demo: bootstrap ## build, then show both engines under load in front of nginx
	@scripts/demo

demo-refused: bootstrap $(TOOLS)/seccomp-deny ## the demo where the kernel refuses io_uring (EPERM)
	@$(TOOLS)/seccomp-deny EPERM scripts/demo

test: ## run all tests: unit, contract and system tests, on both engines
	@scripts/test

test-unit: bootstrap ## unit and contract tests only (swift test)
	@scripts/test --unit

test-system: ## system tests only: real servers, real clients
	@scripts/bootstrap --test
	@scripts/test --system

test-features: bootstrap ## run the contract suite once with each engine feature toggled
	@scripts/test-features

test-refused: bootstrap ## system tests with engine auto, io_uring refused by EPERM, then by ENOSYS
	@scripts/test --refused

clients: ## real clients and servers on both engines, FOLDER=… keeps their packages (needs a network)
	@$(SWIFT) build -c release --product millrace
	@Tests/Clients/run $(if $(FOLDER),--folder "$(FOLDER)") $(ARGS)

test-day: ## a day in ten minutes, on each engine: load while all that can be changed is changed; ARGS
	@$(SWIFT) build -c release --product millrace
	@Tests/Day/run $(ARGS)

simulate: ## run the proxy in seeded simulations: SEED=1 COUNT=1000; SEED=n COUNT=1 VERBOSE=1 replays one
	@scripts/simulate "$(or $(SEED),1)" "$(or $(COUNT),1000)" $(VERBOSE)

test-steady: ## count malloc, free, retain and release per hot operation: all must be zero
	@scripts/steady-state

test-snippets: ## check that misuse of the library does not compile, and the diagnostics
	@scripts/snippets

test-teardown: ## shut down engines with operations in flight, 3000 times each
	@scripts/teardown

test-instructions: ## compare user instructions per request with the recorded thresholds
	@scripts/bootstrap --test
	@$(SWIFT) build -c release --product millrace
	@scripts/instructions

test-sanitizers: ## the same and the contract suite under the address sanitizer, and valgrind (minutes)
	@scripts/sanitizers

check: lint build ## lint and build; run before a commit

build: ## debug build of everything
	@$(SWIFT) build

# A separate scratch path: the flags differ from those of the test build, which would be rebuilt each time.
RELEASE = --scratch-path .build-release --static-swift-stdlib
release: ## optimised build of the proxy, Swift's libraries in it; prints where it is
	@$(SWIFT) build -c release --product millrace $(RELEASE)
	@printf '%s/millrace\n' "$$($(SWIFT) build -c release $(RELEASE) --show-bin-path)"
	@printf 'It requires OpenSSL 3, libyaml and libnghttp2 at run time, and no Swift.\n'

install: release ## install the proxy below PREFIX (/usr/local): binary, man pages, completions, service
	@PREFIX="$(or $(PREFIX),/usr/local)" DESTDIR="$(DESTDIR)" scripts/install "$$($(SWIFT) build -c release $(RELEASE) --show-bin-path)/millrace"

uninstall: ## remove what make install installed, but no configuration
	@PREFIX="$(or $(PREFIX),/usr/local)" DESTDIR="$(DESTDIR)" scripts/install --remove

deb: release ## build the Debian package, in .build/packages
	@scripts/deb "$$($(SWIFT) build -c release $(RELEASE) --show-bin-path)/millrace"

test-deb: release ## the package in a Debian of its own: install, start, reload, upgrade, purge (needs root and a network)
	@scripts/bootstrap --package
	@binary="$$($(SWIFT) build -c release $(RELEASE) --show-bin-path)/millrace"; \
	  first=$$(scripts/deb "$$binary") && next=$$(MILLRACE_PACKAGE_REVISION=2 scripts/deb "$$binary") \
	  && Tests/Package/run "$$first" "$$next"

examples: ## build the examples of the library (Examples/)
	@rm -f Examples/.build/debug.yaml # or files that are new in the library would not be seen
	@$(SWIFT) build --package-path Examples

reference: ## write docs/configuration-reference.md from the JSON Schema
	@scripts/configuration-reference

docs: ## the documentation of the library, as a site in .build/docs
	@scripts/docs

format: ## format the sources
	@$(SWIFT) format format --in-place --parallel --recursive $(FORMATTED)

lint: ## report style violations, undocumented symbols, traps without a reason, forbidden dependencies
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

bench-engine: bootstrap ## compare the engine library with C and liburing, SwiftNIO, pread, cp, nginx
	@Benchmarks/engine/run $(ARGS)

bench-features: bootstrap ## every optional feature of the engines on and off, where it can matter
	@Benchmarks/features/run $(ARGS)

bench-load: bootstrap ## compare the load generator with wrk: offered load, CPU per request
	@$(SWIFT) build -c release --product millrace
	@Benchmarks/load/run $(ARGS)

bench-lab: bootstrap ## validate the lab: known costs, a late share, no difference, a planned rate (three hours)
	@$(SWIFT) build -c release --product millrace
	@Benchmarks/lab/run $(ARGS)

clean: ## remove what was built
	@rm -rf .build .build-release Examples/.build
	@find Tests Benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(TOOLS)/seccomp-deny: Tests/System/seccomp-deny.c
	@mkdir -p $(TOOLS)
	@$(or $(CC),cc) -O1 -Wall -Wextra -Werror -o $@ $<
