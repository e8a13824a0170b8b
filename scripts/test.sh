#!/usr/bin/env bash
# Everything that must hold before a change is merged, cheapest first: formatting, lints, documentation, the page's
# bundle, all tests, the page in Chromium, every kernel by a second compiler, and the tests of the kernels and of the model once
# more on a second Vulkan driver.
# With --all licences too, and the Python wheel in environments that are made for it, and Ray: minutes more.
# Ends with cargo's own summary lines. Exits with 1 if anything failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

case "${1:-}" in
    '' | --all) all=${1:-} ;;
    *)
        echo "error: '$1' is not an option; there is --all, which tests licences and the Python wheel too" >&2
        exit 2
        ;;
esac

if ! command -v cargo >/dev/null; then
    echo "error: cargo is not there: install Rust 1.88 or later from https://rustup.rs" >&2
    exit 1
fi
# Nothing here is compiled twice, so that incremental files would only cost time and disk.
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
summary=$work/summary
# Mesa's GL complains on stderr where there is none.
export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-$work}
: >"$summary"
failed=0
started=$SECONDS

section() { printf '\n== %s (%d s)\n' "$1" $((SECONDS - started)); }

# Runs a check; the first of these to fail ends everything.
check() {
    section "$1"
    shift
    "$@" || { printf '\nFAILED: %s\n' "$*"; exit 1; }
}

# Runs `cargo test` with the rest of the arguments and keeps its summary lines under the title $1.
tests() {
    local title=$1
    shift
    section "$title"
    cargo test --locked --no-fail-fast "$@" 2>&1 | tee "$work/log"
    local status=${PIPESTATUS[0]}
    {
        printf '%s\n' "$title"
        grep -E '^ *(Running|Doc-tests) |^test result:|^test .* FAILED$|^error(\[|: (test|doctest|could not compile|[0-9]+ target))' \
            "$work/log"
    } >>"$summary"
    if [ "$status" -ne 0 ]; then failed=1; fi
}

# rustup's minimal profile comes without these two.
for component in rustfmt clippy; do
    cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 && continue
    if ! rustup component add "$component"; then
        echo "error: $component is not there; with rustup: rustup component add $component" >&2
        exit 1
    fi
done
scripts/vulkan.sh

check "cargo fmt" cargo fmt --check
check "cargo clippy" cargo clippy --locked --workspace --all-targets -- -D warnings
# Libraries, since the command's `retrograd` would take the facade's place; examples, so that the dependencies have
# the same features as for clippy and are not checked again.
check "cargo doc" env RUSTDOCFLAGS=-Dwarnings cargo doc --locked --no-deps --workspace --lib --examples

page_ready=yes
scripts/node.sh chromium || page_ready=
if [ -n "$page_ready" ]; then check "The page's types and bundle" scripts/page.sh; fi

tests "All tests" --workspace

if [ -n "$page_ready" ]; then
    section "The page in Chromium"
    scripts/page_test.sh 2>&1 | tee "$work/log"
    if [ "${PIPESTATUS[0]}" -ne 0 ]; then failed=1; fi
    {
        echo "The page in Chromium"
        grep -E '^(ℹ|#) (tests|pass|fail) |^ *(✖|not ok) ' "$work/log"
    } >>"$summary"
else
    echo "The page in Chromium: not run, Node.js or Chromium are missing" >>"$summary"
fi

section "The kernels by a second compiler"
scripts/dawn_test.sh 2>&1 | tee "$work/log"
case ${PIPESTATUS[0]} in
    0) grep '^Dawn ' "$work/log" >>"$summary" ;;
    77) echo "The kernels by a second compiler: not run, there is no Node.js, Dawn or SwiftShader" >>"$summary" ;;
    *) failed=1; echo "The kernels by a second compiler: FAILED" >>"$summary" ;;
esac

if [ -n "$all" ]; then
    section "Licences and sources of what is used"
    scripts/licences.sh
    case $? in
        0) echo "Licences and sources of what is used: as deny.toml allows" >>"$summary" ;;
        77) echo "Licences and sources of what is used: not checked, cargo-deny cannot be installed" >>"$summary" ;;
        *) failed=1; echo "Licences and sources of what is used: FAILED" >>"$summary" ;;
    esac
    section "The Python wheel"
    scripts/python_test.sh 2>&1 | tee "$work/log"
    case ${PIPESTATUS[0]} in
        0 | 77) ;;
        *) failed=1 ;;
    esac
    grep '^Python: ' "$work/log" | tail -n 1 >>"$summary"
else
    echo "Licences, the Python wheel: not run; scripts/test.sh --all, or scripts/licences.sh and scripts/python_test.sh alone" >>"$summary"
fi

second=$(scripts/swiftshader.sh)
if [ -n "$second" ]; then
    export VK_DRIVER_FILES=$second VK_ICD_FILENAMES=$second WGPU_BACKEND=vulkan
    # All of the workspace with a choice of its tests, not a choice of packages: that would resolve other
    # features and compile the dependencies again.
    chosen=()
    for file in crates/gpu/tests/*.rs crates/model/tests/*.rs crates/verify/tests/*.rs; do chosen+=(--test "$(basename "$file" .rs)"); done
    tests "The kernels, the model and their verification on SwiftShader" --workspace "${chosen[@]}"
else
    echo "The kernels, the model and their verification on SwiftShader: not run, there is no SwiftShader" >>"$summary"
fi

section "Summary"
cat "$summary"
if [ "$failed" -ne 0 ]; then
    printf '\nFAILED after %d s\n' $((SECONDS - started))
    exit 1
fi
printf '\nAll passed in %d s\n' $((SECONDS - started))
