#!/bin/sh
# oslo.config 10.7.0: by its documentation mutate_config_files() raises Error when it cannot reload,
# and reload_config_files() returns False then. Both take a file in which an option of integers is
# `two`: the one raises nothing and tells its hooks of the new value, the other returns True. The
# right value that the service had is gone, and the next reading of the option raises
# ConfigFileValueError, wherever that is: a running service breaks later by a slip of the pen.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.config==10.7.0
cat >"$folder/try.py" <<'TRY'
import sys

from oslo_config import cfg


def write(value):
    with open(sys.argv[1], "w") as file:
        file.write(f"[DEFAULT]\nworkers = {value}\n")


for method in ("mutate_config_files", "reload_config_files"):
    write(4)
    conf = cfg.ConfigOpts()
    conf.register_opts([cfg.IntOpt("workers", mutable=True)])
    conf([], default_config_files=[sys.argv[1]])
    conf.register_mutate_hook(lambda conf, fresh: print("the hook gets", fresh))
    print("before:", conf.workers)
    write("two")
    print(method, "returns", getattr(conf, method)())
    try:
        print("after:", conf.workers)
    except cfg.ConfigFileValueError:
        print("after: ConfigFileValueError")
TRY
"$folder/venv/bin/python" -W ignore "$folder/try.py" "$folder/conf" >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
before: 4
the hook gets {(None, 'workers'): ('4', 'two')}
mutate_config_files returns {(None, 'workers'): ('4', 'two')}
after: ConfigFileValueError
before: 4
reload_config_files returns True
after: ConfigFileValueError
SAID
