#!/usr/bin/env bash
# Proves that the page's committed bundle (crates/web/page/dist) is what its source makes, and checks its types.
#
#     scripts/page.sh            check
#     scripts/page.sh build      make the bundle anew
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/node.sh
cd crates/web/page
npm ci --loglevel=error
npx --no-install tsc --noEmit
if [ "${1:-}" = build ]; then node build.mjs; else node build.mjs --check; fi
