#!/bin/sh
# oslo.config 10.7.0: oslo-config-validator is there, by its manual, to find out whether what a file
# sets is right. It reads names only. A file whose every value is wrong (an integer of letters, a
# boolean of neither, a choice that there is none of, a port above the highest) is accepted with
# status 0, though the options' types are known to it. A name that is wrong is found.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.config==10.7.0
mkdir "$folder/site"
cat >"$folder/site/try.py" <<'TRY'
from oslo_config import cfg

options = [
    cfg.IntOpt("workers", min=1),
    cfg.BoolOpt("debug"),
    cfg.StrOpt("backend", choices=["a", "b"]),
    cfg.PortOpt("port"),
]


def list_opts():
    return [("DEFAULT", options)]
TRY
mkdir "$folder/site/try-1.dist-info"
printf 'Metadata-Version: 2.1\nName: try\nVersion: 1\n' >"$folder/site/try-1.dist-info/METADATA"
printf '[oslo.config.opts]\ntry = try:list_opts\n' >"$folder/site/try-1.dist-info/entry_points.txt"
printf '[DEFAULT]\nworkers = two\ndebug = perhaps\nbackend = c\nport = 70000\n' >"$folder/values.conf"
printf '[DEFAULT]\nworker = 2\n' >"$folder/names.conf"
for file in values names; do
    status=0
    PYTHONPATH="$folder/site" "$folder/venv/bin/oslo-config-validator" --namespace try \
        --input-file "$folder/$file.conf" >"$folder/out" 2>&1 || status=$?
    echo "wrong $file: status $status"
done >"$folder/said"
cat "$folder/said"
printf 'wrong values: status 0\nwrong names: status 1\n' | diff - "$folder/said"
