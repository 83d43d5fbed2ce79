#!/bin/sh
# oslo.config 10.7.0: an environment variable outranks a file, but when the variable's value is wrong
# the error names the file, if the option stands there as well (with a value that is right). An
# operator looks for the mistake in the wrong place. Without the option in the file it names the
# variable.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.config==10.7.0
printf '[DEFAULT]\nworkers = 4\n' >"$folder/right.conf"
printf '[DEFAULT]\n' >"$folder/empty.conf"
cat >"$folder/try.py" <<'END'
import sys

from oslo_config import cfg

conf = cfg.ConfigOpts()
conf.register_opts([cfg.IntOpt("workers")])
conf([], default_config_files=[sys.argv[1]])
try:
    print("value", conf.workers)
except cfg.ConfigSourceValueError as error:
    print("file" if "right.conf" in str(error) else "variable" if "OS_DEFAULT__WORKERS" in str(error) else error)
END
export OS_DEFAULT__WORKERS=two
"$folder/venv/bin/python" "$folder/try.py" "$folder/right.conf" >"$folder/said"
"$folder/venv/bin/python" "$folder/try.py" "$folder/empty.conf" >>"$folder/said"
OS_DEFAULT__WORKERS=2 "$folder/venv/bin/python" "$folder/try.py" "$folder/right.conf" >>"$folder/said"
cat "$folder/said"
printf 'file\nvariable\nvalue 2\n' | diff - "$folder/said"
