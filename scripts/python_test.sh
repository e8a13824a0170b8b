#!/usr/bin/env bash
# Builds the wheel, installs it in clean virtual environments, and tests it there: the README's lines, pytest, the type
# checker on the stubs, the notebook, and Ray where it can be installed in two minutes.
# The last line says what was run and what was not. Exits with 1 if anything failed, with 77 where there is no Python 3.9
# with venv, or no package index: then nothing was tested.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

say() { printf '%s\n' "python: $*" >&2; }
skip() { printf 'Python: not run, %s\n' "$*"; exit 77; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; elif [ -t 0 ]; then sudo "$@"; else sudo -n "$@"; fi
}

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null || skip "there is no Python 3.9 or later ($python)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
started=$SECONDS
failed=()
ran=()

if ! "$python" -m venv "$work/tools" >/dev/null 2>&1; then
    # Debian keeps what venv needs in a package of its own.
    command -v apt-get >/dev/null || skip "$python has no venv"
    say "installing python3-venv"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends python3-venv >"$work/apt" 2>&1 ||
        { as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
            --no-install-recommends python3-venv; } >>"$work/apt" 2>&1 || { cat "$work/apt" >&2; skip "python3-venv cannot be installed"; }
    rm -rf "$work/tools"
    "$python" -m venv "$work/tools" || skip "$python has no venv"
fi
pip() { "$work/$1/bin/python" -m pip install --disable-pip-version-check -q "${@:2}"; }
pip tools 'maturin>=1.8,<2' || skip "pip cannot install maturin"

# Runs a step; its name goes to those that ran, and to those that failed.
step() {
    local name=$1
    shift
    printf '\n-- %s (%d s)\n' "$name" $((SECONDS - started))
    ran+=("$name")
    "$@" || { failed+=("$name"); return 1; }
}

# A cluster starts many processes against the clock: on a busy machine the first try may be too slow. What is wrong stays wrong.
twice() { "$@" || { say "once more: $*"; "$@"; }; }

# Debug, in the target folder of everything else: the dependencies are compiled already.
build() {
    cargo build --locked --workspace --bin retrograd &&
        PATH="$work/tools/bin:$PATH" maturin build --locked --compatibility linux --out "$work/wheels" --quiet
}
step "wheel" build || { echo "Python: FAILED: the wheel does not build"; exit 1; }
wheel=("$work"/wheels/*.whl)

# A clean environment has the wheel and what it depends on, nothing else.
readme() {
    "$python" -m venv "$work/clean" && pip clean "${wheel[0]}" &&
        sed -n '/^```python$/,/^```$/p' README.md | sed '/^```/d' >"$work/readme.py" &&
        [ -s "$work/readme.py" ] && "$work/clean/bin/python" "$work/readme.py"
}
step "README" readme

"$python" -m venv "$work/test"
if pip test "${wheel[0]}" pytest pyarrow safetensors mypy nbclient ipykernel; then
    target=$(cargo metadata --format-version 1 --no-deps --locked | "$python" -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
    export RETROGRAD=$target/debug/retrograd
    step "pytest" "$work/test/bin/python" -m pytest -q -p no:cacheprovider --ignore crates/python/tests/test_ray.py -rs
    step "types" "$work/test/bin/python" -m mypy --cache-dir "$work/mypy"
    step "notebook" "$work/test/bin/python" crates/python/notebooks/execute.py
    if timeout 120 "$work/test/bin/python" -m pip install --disable-pip-version-check -q 'ray[data]' >"$work/ray" 2>&1; then
        step "Ray" twice timeout 240 "$work/test/bin/python" -m pytest -q -p no:cacheprovider -rs crates/python/tests/test_ray.py
    else
        not_run="; not run: Ray, which pip could not install in two minutes"
    fi
else
    not_run="; not run: all tests, pip could not install what they need"
fi

printf '\nPython: ran %s' "$(IFS=,; echo "${ran[*]}" | sed 's/,/, /g')${not_run:-}"
if [ ${#failed[@]} -gt 0 ]; then
    printf '; FAILED: %s (%d s)\n' "$(IFS=,; echo "${failed[*]}" | sed 's/,/, /g')" $((SECONDS - started))
    exit 1
fi
printf ' (%d s)\n' $((SECONDS - started))
