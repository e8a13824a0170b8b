#!/usr/bin/env bash
# Makes sure that this machine has a Vulkan driver, and does nothing when it has one.
#
# On Debian and Ubuntu, Mesa's drivers are installed with apt-get (lavapipe, the one that computes on the
# CPU, is among them). Elsewhere this says which package to install, and goes on: retrograd also runs on
# Metal, Direct3D 12 and OpenGL, and reports what it finds.
set -euo pipefail

say() { printf '%s\n' "vulkan: $*" >&2; }

# The manifests that the Vulkan loader would read, one path a line.
manifests() {
    local listed=${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}
    if [ -n "$listed" ]; then
        printf '%s\n' "$listed" | tr ':' '\n'
        return
    fi
    local dir
    for dir in "${XDG_CONFIG_HOME:-${HOME:-/}/.config}" /etc/xdg /usr/local/etc /etc \
        "${XDG_DATA_HOME:-${HOME:-/}/.local/share}" /usr/local/share /usr/share; do
        find "$dir/vulkan/icd.d" -maxdepth 1 -name '*.json' 2>/dev/null || true
    done
}

# Whether the shared library $1 is known to the dynamic linker.
linkable() {
    [ -e "/usr/lib/$1" ] && return 0 # systems whose linker has no cache
    { PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null || true; } | grep -F "${1##*/}" >/dev/null
}

# Whether the driver library that the manifest $1 names is there.
driver_exists() {
    local library
    [ -r "$1" ] || return 1
    library=$(sed -n 's/.*"library_path"[[:space:]]*:[[:space:]]*"\([^"]*\)".*/\1/p' "$1" | head -n 1)
    case $library in
        '') return 1 ;;
        /*) [ -e "$library" ] ;;
        */*) [ -e "$(dirname "$1")/$library" ] ;;
        *) linkable "$library" ;;
    esac
}

has_vulkan() {
    local manifest all
    all=$(manifests)
    linkable libvulkan.so.1 || [ -n "${LD_LIBRARY_PATH:-}" ] || return 1
    while IFS= read -r manifest; do
        if [ -n "$manifest" ] && driver_exists "$manifest"; then return 0; fi
    done <<<"$all"
    return 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@" # nobody is there to type a password
    fi
}

install_with_apt() {
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        say "no Vulkan driver found, and neither root nor sudo: have 'mesa-vulkan-drivers' and 'libvulkan1' installed"
        return
    fi
    say "no driver found; installing Mesa's with apt-get"
    local packages="mesa-vulkan-drivers libvulkan1"
    # shellcheck disable=SC2086
    if as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >&2; then
        has_vulkan || say "installed, but the driver is still not found; 'retrograd doctor' shows what is"
    else
        say "apt-get failed; install $packages by hand"
    fi
}

case $(uname -s) in
    Linux) ;;
    *) exit 0 ;; # Metal and Direct3D 12 come with the system.
esac
if has_vulkan; then exit 0; fi
if [ -n "${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}" ]; then
    say "VK_DRIVER_FILES (or VK_ICD_FILENAMES) names no driver that is there"
    exit 0
fi
if command -v apt-get >/dev/null; then
    install_with_apt
elif command -v dnf >/dev/null; then
    say "no driver found: sudo dnf install mesa-vulkan-drivers vulkan-loader"
elif command -v pacman >/dev/null; then
    say "no driver found: sudo pacman -S vulkan-swrast vulkan-icd-loader"
elif command -v apk >/dev/null; then
    say "no driver found: sudo apk add mesa-vulkan-swrast vulkan-loader"
elif command -v zypper >/dev/null; then
    say "no driver found: sudo zypper install libvulkan_lvp libvulkan1"
else
    say "no driver found: install your system's Vulkan loader and a driver (Mesa's lavapipe runs on any CPU)"
fi
