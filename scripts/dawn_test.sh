#!/usr/bin/env bash
# Compiles every kernel in every variant with a second compiler, Dawn's, on SwiftShader: what `retrograd verify` compiles on
# the driver at hand with all that it offers, and `doctor` with the WebGPU defaults, as on a GPU. Exits with 77 where there
# is no Node.js, no Dawn or no SwiftShader to be had.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/node.sh || exit 77
driver=$(scripts/swiftshader.sh) || exit 77
(cd tests/dawn && npm ci --loglevel=error) || exit 77

if [ -z "${RETROGRAD:-}" ]; then
    # As the tests have it: to build it alone would resolve other features and compile the dependencies again.
    cargo test --locked --workspace --test cli --no-run
    RETROGRAD=${CARGO_TARGET_DIR:-target}/debug/retrograd
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-$work}
"$RETROGRAD" verify --gemm all --dump-shaders "$work/variants" >/dev/null
"$RETROGRAD" doctor --default-limits --dump-shaders "$work/defaults" >/dev/null
export VK_DRIVER_FILES=$driver VK_ICD_FILENAMES=$driver
node tests/dawn/compile.mjs --share 2/2 "$work/variants" "$work/defaults" &
node tests/dawn/compile.mjs --share 1/2 "$work/variants" "$work/defaults"
wait $!
