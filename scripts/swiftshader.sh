#!/usr/bin/env bash
# Prints the path of SwiftShader's Vulkan manifest: a second driver, unlike Mesa's in subgroup size, limits
# and compiler. Exits with 1, and says why, where there is none to be had.
#
#     VK_DRIVER_FILES=$(scripts/swiftshader.sh) WGPU_BACKEND=vulkan cargo test -p retrograd-gpu
#
# Chromium brings SwiftShader along. Where Chromium is not installed, on Debian, the package that holds
# SwiftShader is downloaded and its two files (they need nothing but libc) are unpacked below target/;
# nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%s\n' "swiftshader: $*" >&2; }

manifest=vk_swiftshader_icd.json
kept=${CARGO_TARGET_DIR:-target}/swiftshader
case $kept in /*) ;; *) kept=$PWD/$kept ;; esac

for dir in "$kept" /usr/lib/chromium /usr/lib64/chromium-browser /opt/google/chrome; do
    if [ -e "$dir/$manifest" ] && [ -e "$dir/libvk_swiftshader.so" ]; then
        printf '%s\n' "$dir/$manifest"
        exit 0
    fi
done

# Ubuntu's package of that name only points to a snap.
if ! grep -qx 'ID=debian' /etc/os-release 2>/dev/null || ! command -v apt-get >/dev/null; then
    say "not found: install Chromium from your distribution"
    exit 1
fi

say "fetching Debian's package chromium-common (32 MB) for the driver in it"
mkdir -p "$kept"
work=$(mktemp -d "$kept/download.XXXXXX")
trap 'rm -rf "$work"' EXIT
fetch() { (cd "$work" && apt-get download -qq -o APT::Sandbox::User= chromium-common >&2); }
if ! fetch; then
    # No package lists yet, or old ones: updating them takes root.
    update=(env DEBIAN_FRONTEND=noninteractive apt-get update -qq)
    if [ "$(id -u)" -ne 0 ]; then update=(sudo -n "${update[@]}"); fi
    if ! { "${update[@]}" >&2 && fetch; }; then
        say "could not be fetched"
        exit 1
    fi
fi
dpkg-deb --fsys-tarfile "$work"/chromium-common_*.deb |
    tar -x -C "$work" ./usr/lib/chromium/libvk_swiftshader.so ./usr/lib/chromium/$manifest
mv "$work/usr/lib/chromium/libvk_swiftshader.so" "$work/usr/lib/chromium/$manifest" "$kept/"
printf '%s\n' "$kept/$manifest"
