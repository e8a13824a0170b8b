#!/usr/bin/env bash
# Builds retrograd and traces a prompt with the shipped model.
#
#     scripts/demo.sh                                      "The capital of France is" → " Paris"
#     scripts/demo.sh "The past tense of go is" --target " went"    any arguments of `retrograd trace`
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v cargo >/dev/null; then
    echo "error: cargo is not there: install Rust 1.88 or later from https://rustup.rs" >&2
    exit 1
fi
scripts/vulkan.sh
if [ $# -eq 0 ]; then set -- "The capital of France is" --target " Paris"; fi
cargo build --release --locked -p retrograd-cli
exec cargo run --quiet --release --locked -p retrograd-cli -- trace "$@"
