#!/bin/sh
# Build the wheel of the project around this folder, and install it.
#
#   install.sh VENV          with all dependencies, into a new virtual environment; the image does this
#   install.sh --wheel DIR   only build the wheel, into DIR
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}

build_wheel() {
    "$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$1" "$project"
}

case "${1:-}" in
--wheel)
    build_wheel "${2:?install.sh: name the folder that the wheel goes to}"
    ;;
"" | -*)
    echo "usage: install.sh VENV | install.sh --wheel DIR" >&2
    exit 2
    ;;
*)
    wheels=$(mktemp -d)
    trap 'rm -rf "$wheels"' EXIT
    build_wheel "$wheels"
    # No pip in it, and no compiler to want: what has no wheel for this machine is an error here, not in the field.
    "$python" -m venv --without-pip "$1"
    "$python" -m pip --python "$1/bin/python" install --disable-pip-version-check --only-binary=:all: "$wheels"/*.whl
    "$1/bin/xmatch-hats" --version
    ;;
esac
