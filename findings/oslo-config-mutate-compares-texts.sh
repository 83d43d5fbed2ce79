#!/bin/sh
# oslo.config 10.7.0: mutate_config_files() is documented to return each changed option's old and new
# value, and gives that to its hooks. What it compares are the texts of the files, not the values that
# the options have. So a hook is told of a change that there is none of, when the environment outranks
# the file, and not told of one that there is, when an option's value comes from another option
# ($state).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.config==10.7.0
cat >"$folder/try.py" <<'TRY'
import os
import sys

from oslo_config import cfg


def write(text):
    with open(sys.argv[1], "w") as file:
        file.write(f"[DEFAULT]\n{text}\n")


def change(option, before, after):
    write(before)
    conf = cfg.ConfigOpts()
    conf.register_opts([cfg.StrOpt(name, mutable=True) for name in ("state", "bus")])
    conf([], default_config_files=[sys.argv[1]])
    old = conf[option]
    write(after)
    fresh = conf.mutate_config_files()
    print(f"{option} was {old} and is {conf[option]}; told:", fresh.get((None, option)))


change("state", "state = /a", "state = /b")
change("bus", "state = /a\nbus = $state/bus", "state = /b\nbus = $state/bus")
os.environ["OS_DEFAULT__STATE"] = "/env"
change("state", "state = /a", "state = /b")
TRY
"$folder/venv/bin/python" -W ignore "$folder/try.py" "$folder/conf" >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
state was /a and is /b; told: ('/a', '/b')
bus was /a/bus and is /b/bus; told: None
state was /env and is /env; told: ('/a', '/b')
SAID
