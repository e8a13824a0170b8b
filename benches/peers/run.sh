#!/usr/bin/env bash
# Retrograd and its competitors on the same work, in turn on this machine: prints one table.
#
#     benches/peers/run.sh [--only trace,start,…] [--rounds N] [--lengths 64,256] [--json FILE] [--update-docs]
#
# Needs Rust, Python 3 with venv, and the network on its first run: PyTorch and transformers go into a virtual environment
# under target/peers, unless `python3` (or $PYTHON) has them; the Rust competitors are compiled there too. llm.c takes part
# where LLMC_DIR names a copy of its source. What cannot be installed or built is left out, and the table says so.
# `compare.py --help` lists the work.
set -euo pipefail
cd "$(dirname "$0")/../.."
peers=target/peers
mkdir -p "$peers"

python=${PYTHON:-python3}
if ! "$python" -c 'import torch, transformers, safetensors' 2>/dev/null; then
    python=$peers/venv/bin/python
    [ -x "$python" ] || python3 -m venv "$peers/venv"
    "$python" -c 'import torch, transformers, safetensors' 2>/dev/null ||
        "$python" -m pip install --quiet torch transformers safetensors \
            --extra-index-url https://download.pytorch.org/whl/cpu ||
        "$python" -m pip install --quiet torch transformers safetensors || true
fi

cargo build --release --quiet --workspace --bin retrograd
exec "$python" benches/peers/compare.py "$@"
