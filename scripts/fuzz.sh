#!/usr/bin/env bash
# Fuzzes everything that reads hostile files and requests: `scripts/fuzz.sh [TARGET|all] [SECONDS]`, an hour where no
# number is given. Inputs that reach something new are kept in target/fuzz/corpus/TARGET and are where the next run goes on.
# Ends with 1 when an input panics, hangs, or takes more memory than one of its length may; the input is then named.
# Needs a nightly toolchain and cargo-fuzz: rustup toolchain install nightly; cargo install cargo-fuzz --locked
set -euo pipefail
cd "$(dirname "$0")/.."

all=(config safetensors tokenizer trace_file task_and_edit server_request)
chosen=${1:-all}
seconds=${2:-3600}
if [ "$chosen" = all ]; then
    targets=("${all[@]}")
elif printf '%s\n' "${all[@]}" | grep -qx -- "$chosen"; then
    targets=("$chosen")
else
    echo "error: '$chosen' is no target; choose from ${all[*]}, or all" >&2
    exit 2
fi
if ! [[ $seconds =~ ^[1-9][0-9]*$ ]]; then
    echo "error: '$seconds' is not a number of seconds" >&2
    exit 2
fi
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
    echo "error: cargo-fuzz or a nightly toolchain is missing:" \
        "rustup toolchain install nightly; cargo install cargo-fuzz --locked" >&2
    exit 1
fi

work=$PWD/target/fuzz
# No sanitizer: unsafe code is one mapping of a file. Memory is counted by the targets themselves (src/targets/mod.rs),
# which is stricter than libFuzzer's limits.
cargo +nightly fuzz build --fuzz-dir tests/fuzz --sanitizer none --features server --target-dir "$work"
built=$work/x86_64-unknown-linux-gnu/release
[ -d "$built" ] || built=$(dirname "$(find "$work" -path '*/release/config' -type f | head -n 1)")

failed=0
for target in "${targets[@]}"; do
    kept=$work/corpus/$target
    mkdir -p "$kept" "$work/findings"
    echo "== $target, $seconds s"
    # 64 KiB: longer files have nothing new, and cost time. A slow input is one that takes 30 s on a busy machine.
    if ! "$built/$target" "$kept" "tests/fuzz/corpus/$target" -max_total_time="$seconds" -max_len=65536 \
        -timeout=30 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=1 \
        -artifact_prefix="$work/findings/$target-" 2>"$work/$target.log"; then
        failed=1
        grep -E 'panicked|^assertion|ERROR|Test unit written' -A 2 "$work/$target.log" | head -n 20
        echo "the whole log: $work/$target.log; mend the cause and keep the input in tests/fuzz/corpus/$target"
    fi
    grep -E 'cov: ' "$work/$target.log" | tail -n 1
    grep -E '^stat::number_of_executed_units' "$work/$target.log" || true
done
exit "$failed"
