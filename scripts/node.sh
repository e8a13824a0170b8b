#!/usr/bin/env bash
# Makes sure that Node.js, npm and, when asked for with `node.sh chromium`, Chromium are there, and does nothing when they
# are. On Debian they are installed with apt-get; elsewhere this says what is missing and exits with 1.
set -euo pipefail

say() { printf '%s\n' "node: $*" >&2; }

missing=()
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
if [ "${1:-}" = chromium ] && [ -z "${CHROMIUM:-}" ]; then
    command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
fi
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi
# Ubuntu's package chromium only points to a snap.
if ! grep -qx 'ID=debian' /etc/os-release 2>/dev/null || ! command -v apt-get >/dev/null; then
    say "missing: ${missing[*]}; install them (Node.js 18 or later)"
    exit 1
fi
say "installing ${missing[*]} with apt-get"
as_root=()
if [ "$(id -u)" -ne 0 ]; then as_root=(sudo -n); fi
install() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2; }
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 && install || { say "apt-get failed; install ${missing[*]} by hand"; exit 1; }
