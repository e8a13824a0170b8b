#!/usr/bin/env bash
# Licences, sources and bans of everything that Cargo.lock names, by cargo-deny and deny.toml. Where cargo-deny is missing it is
# compiled into target/tools, unoptimised, which takes a minute. Exits with 77 where it cannot be installed, with 1 where
# something is not allowed.
set -euo pipefail
cd "$(dirname "$0")/.."

export PATH="$PWD/target/tools/bin:$PATH"
if ! command -v cargo-deny >/dev/null; then
    cargo install --locked --debug --quiet --root target/tools cargo-deny || exit 77
fi
cargo deny --locked --log-level error check licenses bans sources || exit 1
