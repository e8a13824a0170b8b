#!/usr/bin/env bash
# One trace of GPT-2 124M's shape, ours and PyTorch's in turn on the same machine.
#
#     benches/peers/compare_trace.sh [TOKENS [ROUNDS]]
#
# Installs torch and transformers into a virtual environment under target/ on its first run. Each round runs both
# programs once; a program prints the median of its own seven runs.
set -euo pipefail
cd "$(dirname "$0")/../.."
tokens=${1:-64}
rounds=${2:-3}
venv=target/peers-venv
if python3 -c 'import torch, transformers' 2>/dev/null; then
  python=python3
else
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
  "$venv/bin/python" -c 'import torch, transformers' 2>/dev/null || "$venv/bin/pip" install --quiet torch transformers
  python=$venv/bin/python
fi
cargo bench --quiet -p retrograd-model --bench trace --no-run
for _ in $(seq "$rounds"); do
  cargo bench --quiet -p retrograd-model --bench trace -- "$tokens" 7
  "$python" benches/peers/torch_trace.py "$tokens" 7
done
