#!/bin/sh
# Make a sky and alerts, import the sky as the catalogue allwise, and feed the alerts; for the compose profile `sample`.
#
# SAMPLE_ROWS and SAMPLE_ALERTS say how many. A catalogue that is there already is left alone.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
catalogs=${XMATCH_HATS_CATALOGS:?sample.sh: name the root folder of the catalogues}
server=${CONSUMER_SERVER:?sample.sh: name the Kafka server}
topic=${CONSUMER_TOPICS:?sample.sh: name the topic that the alerts go to}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

xmatch-hats demo --dir "$folder/demo" --rows "${SAMPLE_ROWS:-200000}" --alerts "${SAMPLE_ALERTS:-1500}"
if [ -e "$catalogs/allwise" ]; then
    echo "sample.sh: $catalogs/allwise is there already, and stays as it is"
else
    xmatch-hats catalog import "$folder/demo/sky.parquet" --as allwise
fi
python "$here/feed.py" --server "$server" --topic "$topic" "$folder/demo/packets"
