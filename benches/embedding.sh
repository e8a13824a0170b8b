#!/usr/bin/env bash
# What it costs to depend on Retrograd, beside candle and burn: crates, seconds of a release build from nothing, bytes of the
# stripped program. Prints the table of docs/embedding.md.
#
#     benches/embedding.sh [retrograd-lean|retrograd|candle|burn ...]
#
# The job is a forward and a backward pass of a GPT-2. Retrograd's programs are the examples embed_ids (engine and model
# alone) and embed; candle's and burn's are those of benches/peers (burn's has GPT-2's products and no model, so that its
# figures are the least that the job would take). Needs the network where the crates are not there yet, for they are
# fetched first, outside the clock. One after the other, each in a target folder of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
subjects=("$@")
[ ${#subjects[@]} -gt 0 ] || subjects=(retrograd-lean retrograd candle burn)

# A package that has nothing but the program of an example and its dependency.
package() { # folder, example, dependency's settings
    mkdir -p "$1/src"
    cp "$root/crates/retrograd/examples/$2.rs" "$1/src/main.rs"
    cp "$root/Cargo.lock" "$1/Cargo.lock"
    cat >"$1/Cargo.toml" <<TOML
[workspace]
[package]
name = "embedding"
version = "0.0.0"
edition = "2024"
[dependencies]
retrograd = { path = "$root/crates/retrograd"$3 }
TOML
}

peers() { # folder, feature
    cp -r "$root/benches/peers/rust" "$1"
    sed -i "s/^default = .*//; s/^\[features\]/[features]\ndefault = [\"$2\"]/" "$1/Cargo.toml"
}

printf '| | crates | release build | program |\n|---|---|---|---|\n'
for subject in "${subjects[@]}"; do
    dir=$work/$subject
    case $subject in
        retrograd-lean) package "$dir" embed_ids ', default-features = false'; bin=embedding; name='Retrograd, `default-features = false`' ;;
        retrograd) package "$dir" embed ''; bin=embedding; name='Retrograd, all features' ;;
        candle) peers "$dir" candle; bin=candle_peer; name='candle-core, CPU' ;;
        burn) peers "$dir" burn; bin=burn_peer; name='burn, wgpu backend (products alone)' ;;
        *) echo "error: '$subject' is none of retrograd-lean, retrograd, candle, burn" >&2; exit 2 ;;
    esac
    (cd "$dir" && cargo fetch --quiet)
    # Without the program itself; versions count.
    crates=$(cd "$dir" && cargo tree -e normal,build --prefix none -f '{p}' | sed 's/ (.*//' | sort -u | tail -n +2 | wc -l)
    started=$(date +%s.%N)
    (cd "$dir" && CARGO_TARGET_DIR=$work/target-$subject CARGO_PROFILE_RELEASE_STRIP=symbols CARGO_PROFILE_RELEASE_DEBUG=0 \
        cargo build --quiet --release --bin "$bin") 1>&2
    seconds=$(echo "$(date +%s.%N) - $started" | bc 2>/dev/null || python3 -c "import time; print(time.time() - $started)")
    bytes=$(stat -c %s "$work/target-$subject/release/$bin")
    printf '| %s | %d | %.0f s | %.1f MB |\n' "$name" "$crates" "$seconds" "$(python3 -c "print($bytes / 1e6)")"
    rm -rf "$work/target-$subject"
done
