#!/usr/bin/env bash
# Drives the page in Chromium, as a file and served by the command. Installs what is missing on Debian.
#
#     scripts/page_test.sh                  all tests
#     scripts/page_test.sh --test-name-pattern 'undo'    any arguments of `node --test`
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/node.sh chromium
(cd tests/page && npm ci --loglevel=error)
if [ -z "${RETROGRAD:-}" ]; then
    # As the tests have it: to build it alone would resolve other features and compile the dependencies again.
    cargo test --locked --workspace --test cli --no-run
    RETROGRAD=$PWD/${CARGO_TARGET_DIR:-target}/debug/retrograd
    if [ -n "${CARGO_TARGET_DIR:-}" ]; then RETROGRAD=$CARGO_TARGET_DIR/debug/retrograd; fi
    export RETROGRAD
fi
exec node --test "$@" tests/page/page.test.mjs
