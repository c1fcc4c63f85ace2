#!/bin/sh
# Build the source distribution, and from it the wheel, into a folder; wants Python's package `build`.
#
#   build.sh DIR [TAG]   with TAG, vX.Y.Z, only if that is the project's version
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
folder=${1:?build.sh: name the folder that they go to}
tag=${2:-}

version=$("$python" - "$project/pyproject.toml" <<'END'
import sys
import tomllib

with open(sys.argv[1], "rb") as file:
    print(tomllib.load(file)["project"]["version"])
END
)
if [ -n "$tag" ] && [ "$tag" != "v$version" ]; then
    echo "build.sh: the tag is $tag, and the project's version is $version" >&2
    exit 1
fi
"$python" -m build --outdir "$folder" "$project"
