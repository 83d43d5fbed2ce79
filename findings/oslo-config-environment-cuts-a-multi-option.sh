#!/bin/sh
# oslo.config 10.7.0: a MultiOpt that is set in the environment has a value for each character. Its
# documentation promises a list of the values that were given, and that of the environment excepts no
# kind of option. A MultiOpt of integers becomes its digits, without an error: 12 is [1, 2]. A ListOpt
# is read as it should be.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.config==10.7.0
cat >"$folder/try.py" <<'TRY'
from oslo_config import cfg, types

conf = cfg.ConfigOpts()
conf.register_opts([
    cfg.MultiStrOpt("module"),
    cfg.MultiOpt("port", item_type=types.Integer()),
    cfg.ListOpt("list"),
])
conf([], default_config_files=[])
for name in ("module", "port", "list"):
    print(name, conf[name])
TRY
OS_DEFAULT__MODULE=nova OS_DEFAULT__PORT=12 OS_DEFAULT__LIST=nova,cinder \
    "$folder/venv/bin/python" "$folder/try.py" >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
module ['n', 'o', 'v', 'a']
port [1, 2]
list ['nova', 'cinder']
SAID
