#!/usr/bin/env bash
# What must hold before a release besides scripts/test.sh, which is too slow or needs tools that change by themselves: the
# oldest Rust, the facade with every choice of features, licences, sources and advisories, and the public API against the
# last release. Installs cargo-deny and cargo-semver-checks into target/tools where they are missing. Ends with a line a check;
# exits with 1 if one failed.
#
#     scripts/release_check.sh [BASELINE]     a revision to hold the API to [default: the last tag v*]
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
lines=()
failed=0

check() { # title, command
    local title=$1
    shift
    printf '\n== %s\n' "$title"
    if "$@"; then lines+=("ok: $title"); else
        lines+=("FAILED: $title")
        failed=1
    fi
}
skip() { lines+=("not run: $1"); }

# Tools are used once a release: a build that takes less time is worth more than one that runs faster.
export PATH="$PWD/target/tools/bin:$PATH"
tool() { command -v "$1" >/dev/null || cargo install --locked --debug --quiet --root target/tools "$1"; }

if rustup toolchain list 2>/dev/null | grep -q "^$oldest" || rustup toolchain install "$oldest" --profile minimal >/dev/null 2>&1; then
    check "Rust $oldest" cargo "+$oldest" check --locked --workspace --lib --bins --target-dir target/oldest
else
    skip "Rust $oldest, which rustup cannot install"
fi

features() { cargo check --locked --quiet -p retrograd --lib --examples --no-default-features --features "$1" --target-dir target/features; }
for chosen in '' lens tokenizer training gles lens,tokenizer tokenizer,training verify; do
    check "features: ${chosen:-none}" features "$chosen"
done

if tool cargo-deny; then
    check "licences, bans, sources" scripts/licences.sh
    if cargo deny fetch db >/dev/null 2>&1; then
        check "advisories" cargo deny --log-level error check advisories
    else
        skip "advisories, whose database cannot be reached"
    fi
else
    skip "licences, bans, sources, advisories: cargo-deny cannot be installed"
fi

baseline=${1:-$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null)}
if [ -z "$baseline" ]; then
    skip "the public API: there is no release yet; give a revision"
elif tool cargo-semver-checks; then
    for package in retrograd-formats retrograd-gpu retrograd-model retrograd-lens retrograd-reference retrograd-verify retrograd; do
        check "the API of $package since $baseline" cargo semver-checks --package "$package" --baseline-rev "$baseline"
    done
else
    skip "the public API: cargo-semver-checks cannot be installed"
fi

printf '\n'
printf '%s\n' "${lines[@]}"
exit "$failed"
