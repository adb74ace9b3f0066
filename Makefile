# ofedctl: `make` alone says what there is. Rust is the one thing to have beforehand (https://rustup.rs).

MUSL := $(shell uname -m)-unknown-linux-musl
SHIP := target/$(MUSL)/release/ofedctl
# The budget of the shipped file, in bytes.
MAX_SIZE := 10485760

.DEFAULT_GOAL := help
.PHONY: help build unit release lint test bench bench-plots bench-docs fleet dist dist-twice arm-check demo record torture power-loss vendor-check setup musl root packer-newest hosts-newest deny audit fuzz coverage

help: ## Show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

build: ## Build the program, quickly and unoptimised, as target/debug/ofedctl
	cargo build --locked

# Some of them wait for a moment, and others compute meanwhile.
unit: ## Run the unit tests and the house rules (no root, no network): the loop while you edit
	cargo test --locked --quiet --lib -- --skip as_root_ --test-threads $$((4 * $$(nproc)))

release: musl ## Build the one static file to ship; check its size, that it needs no library and has no fault points
	cargo build --locked --release --target $(MUSL)
	@size=$$(stat -c %s $(SHIP)) && echo "$(SHIP): $$size bytes of at most $(MAX_SIZE)" && [ "$$size" -le $(MAX_SIZE) ]
	@! grep -q OFEDCTL_FAULT_POINT $(SHIP) || { echo "$(SHIP) was built with the feature fault-points, which is for tests"; exit 1; }
	@! readelf -ld $(SHIP) | grep -E 'INTERP|NEEDED' || { echo "$(SHIP) is not static"; exit 1; }

lint: ## Check the form of the code and what the compiler's critic says of it
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

# One core alone links the file to ship; the other checks the code and builds the tests meanwhile. The tests wait for package
# managers and services more than they compute: two halves of them run at a time, by the names of their files, and each runs
# more tests at a time than there are cores. What the second half writes is shown when both have ended.
TESTS = cargo test --locked --no-fail-fast $(1) -- --test-threads $$(($$(nproc) * 3 / 2))
test: root setup musl ## Check, build and test everything, with real Debian roots (root; some minutes)
	@$(MAKE) --no-print-directory release & release=$$!; \
	  $(MAKE) --no-print-directory lint && cargo test --locked --no-run; tests=$$?; \
	  wait $$release && exit $$tests
	@target="$${CARGO_TARGET_DIR:-target}"; packaging/tools.sh "$$target/test-packaging-tools" & tools=$$!; \
	  $(call TESTS,--test '[h-z]*') >"$$target/tests-h-z.log" 2>&1 & half=$$!; \
	  $(call TESTS,--lib --bins --test '[!h-z]*'); tests=$$?; \
	  wait $$half || tests=1; cat "$$target/tests-h-z.log"; wait $$tools || tests=1; exit $$tests

dist: musl ## Make all files of a release in dist/ (needs cargo-deb and cargo-generate-rpm; KEY=FILE signs the checksums)
	@packaging/dist.sh dist

dist-twice: dist ## The same, built from nothing a second time elsewhere; fails where a byte differs (many minutes)
	@CARGO_TARGET_DIR=$(CURDIR)/target/again packaging/dist.sh target/dist-again
	@diff -r dist target/dist-again && echo "dist/ is the same bytes again"

# What the files for aarch64 are made of, unoptimised, run by an emulator.
arm-check: ## Build for aarch64, and run detect, plan and a cache's verify (needs gcc-aarch64-linux-gnu and qemu-user-static)
	@packaging/arm_check.sh

BENCHES := bake cache_verify first_boot first_line registry stage unpack
# What ships is measured, and not what cargo builds for a benchmark.
bench bench-plots fleet: export OFEDCTL_PROGRAM = $(CURDIR)/$(SHIP)
bench: root setup release ## Measure the budgets, each in turn with what a user would run instead; fails where one is missed (root)
	cargo bench --locked --no-fail-fast $(BENCHES:%=--bench %)

bench-plots: root setup release ## Measure what costs grow with, and draw the plots of docs/performance.md (root; some minutes)
	OFEDCTL_BENCH_DOCS=1 cargo bench --locked --bench growth
	UPDATE_GOLDEN=1 cargo test --locked --test readme figures

bench-docs: root setup ## Measure the budgets, and put the figures into docs/performance.md (root; on a quiet machine)
	OFEDCTL_BENCH_DOCS=1 $(MAKE) --no-print-directory bench; UPDATE_GOLDEN=1 cargo test --locked --test readme figures

fleet: root setup release ## Let 200 machines pull one bundle at one moment, with failures, and keep the table of docs/fleet.md
	OFEDCTL_BENCH_DOCS=1 cargo bench --locked --bench fleet
	UPDATE_GOLDEN=1 cargo test --locked --test readme figures

# Beside the instants: every place of the tests that otherwise try a few, and a disk that fills up at any size.
torture: root setup release ## Kill the program to ship at 1040 instants of all that changes a root (root; hours)
	OFEDCTL_TORTURE=1040 OFEDCTL_PROGRAM="$(CURDIR)/$(SHIP)" cargo test --locked --test killed --test hostile --test disk -- --nocapture

power-loss: root setup ## Cut the power at 20 moments of a bake and an install, of this machine and in a virtual one (root; many minutes)
	OFEDCTL_POWER_CUTS=20 OFEDCTL_POWER_CUTS_GUEST=20 cargo test --locked --test power_loss -- --nocapture

packer-newest: root setup release ## Run the tests of the Packer door against a newer Packer, built with Go from the sources in SRC
	@tests/packer_newest.sh "$(SRC)"

demo: root setup release ## Make a Debian 12 root, bake InfiniBand into it with the network cut, and prove it
	@tests/demo.sh $(SHIP)

record: root setup release ## Write what `make demo` shows into docs/demo.md
	@{ printf '# A recorded run\n\n`make record` made this page: it is what `make demo` shows.\n\n```text\n'; \
	  tests/demo.sh $(SHIP); printf '```\n'; } >target/demo.md && mv target/demo.md docs/demo.md

vendor-check: root setup build ## Run the whole path with a real bundle that you have: BUNDLE=MLNX_OFED_LINUX-….tgz [ROOT=…]
	@tests/vendor_check.sh target/debug/ofedctl "$(BUNDLE)" "$(ROOT)"

hosts-newest: root setup ## Try the newest cloud-init and Azure agent: SRC=FOLDER with their trees `cloud-init` and `WALinuxAgent`
	@[ -d "$(SRC)/cloud-init/cloudinit" ] && [ -d "$(SRC)/WALinuxAgent/azurelinuxagent" ] || \
	  { echo "SRC must be a folder with canonical/cloud-init as cloud-init and Azure/WALinuxAgent as WALinuxAgent"; exit 1; }
	OFEDCTL_HOSTS="$$(realpath "$(SRC)")" cargo test --locked --test cloud_init --test extension

deny: ## Check the licences, sources and bans of what the program is made of (needs cargo-deny)
	@cargo deny --version >/dev/null 2>&1 || { echo "cargo-deny is missing: cargo install --locked cargo-deny"; exit 1; }
	cargo deny --locked check licenses bans sources

# The database is no part of the repository, and not every machine can fetch it.
audit: ## Check for known weaknesses, against a clone of rustsec/advisory-db (make audit DB=FOLDER)
	@[ -d "$(DB)/crates" ] || { echo "Say where a clone of https://github.com/rustsec/advisory-db is: make audit DB=FOLDER"; exit 1; }
	@cargo deny --version >/dev/null 2>&1 || { echo "cargo-deny is missing: cargo install --locked cargo-deny"; exit 1; }
	@config=$$(mktemp) && sed 's|^\[advisories\]|&\ndb-path = "$(abspath $(DB))/.."\ndb-urls = ["file://$(abspath $(DB))"]|' deny.toml >"$$config" && \
	  cargo deny --locked --config "$$config" check advisories; code=$$?; rm -f "$$config"; exit $$code

# Each parser of outside text in turn, for SECONDS each. What is found is kept below `target`; the inputs in the repository are
# those that tests/fuzz_seeds.rs runs.
SECONDS := 600
fuzz: ## Fuzz the parsers of outside text (needs a nightly toolchain and cargo-fuzz; SECONDS=600 for each)
	@cargo fuzz --version >/dev/null 2>&1 || { echo "cargo-fuzz is missing: cargo install --locked cargo-fuzz"; exit 1; }
	@for target in $$(cargo fuzz list); do \
	  mkdir -p target/fuzz-corpus/$$target && \
	  cargo +nightly fuzz run --release $$target target/fuzz-corpus/$$target fuzz/corpus/$$target -- -max_total_time=$(SECONDS) -rss_limit_mb=2048 -timeout=10 || exit 1; done

# SUITES="--lib --test hostile" measures some of them, and passes no judgement.
SUITES :=
coverage: root setup ## Measure how much of the program the tests run, by file; what reads from outside needs 85 % (x86_64; needs cargo-llvm-cov and rustup's llvm-tools; root)
	@cargo llvm-cov --version >/dev/null 2>&1 || { echo "cargo-llvm-cov is missing: cargo install --locked cargo-llvm-cov"; exit 1; }
	@packaging/coverage.sh $(SUITES)

setup: ## Install the Debian packages that tests and demo work with, where they are missing
	@tests/setup.sh

musl:
	@[ -d "$$(rustc --print target-libdir --target $(MUSL))" ] || rustup target add $(MUSL) || \
	  { echo "Rust's $(MUSL) target is missing and could not be added; with a network: rustup target add $(MUSL)"; exit 1; }

root:
	@[ "$$(id -u)" = 0 ] || { echo "This makes Debian roots and namespaces and needs root: sudo -E env PATH=\"\$$PATH\" make $(MAKECMDGOALS)"; exit 1; }
