# Nixie's short commands. `make` alone explains them.

.PHONY: help test lint packages toolchain demo bench man

help:
	@echo "make test    install what is missing (Postfix, Postgres), check the format, lint, run every test"
	@echo "make lint    check the format and lint, nothing else"
	@echo "make demo    a real Postfix, four scripted providers, with Nixie and without: watch the difference"
	@echo "make man     write the manual pages, target/man/nixie.1 and one for each command"
	@echo "make bench   measure the hooks, the gate, the log reader and the stores (benches/)"
	@echo "cargo test   every test that needs no package; says what it left out"

# NIXIE_REQUIRE_ALL: a test that lacks something fails instead of being left out.
test: packages lint
	NIXIE_REQUIRE_ALL=1 cargo test --workspace

lint: toolchain
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

# A minimal rustup profile lacks them.
toolchain:
	@cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@cargo clippy --version >/dev/null 2>&1 || rustup component add clippy

packages:
	@tests/lab/packages.sh

demo: packages
	cargo build --release --bin nixie
	cargo run --release -p nixie-lab --bin demo

man:
	mkdir -p target/man
	cargo run --release --bin nixie -- man target/man

bench: packages
	cargo bench
