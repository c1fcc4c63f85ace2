#!/bin/sh
# Make the secrets that docker-compose.yml wants and that are not there yet, at random.
#
#   secrets.sh [DIR]   by default the folder secrets beside this script
set -eu

folder=${1:-$(cd "$(dirname "$0")" && pwd)/secrets}
mkdir -p "$folder"
# Containers read the files under users of their own, so the files are open and the folder is what keeps others out.
chmod 700 "$folder"

for name in db_password grafana_password; do
    if [ ! -e "$folder/$name" ]; then
        od -An -N 24 -tx1 /dev/urandom | tr -d ' \n' >"$folder/$name.new"
        chmod 444 "$folder/$name.new"
        mv "$folder/$name.new" "$folder/$name"
        echo "made $folder/$name"
    fi
done
