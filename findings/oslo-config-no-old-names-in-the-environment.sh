#!/bin/sh
# oslo.config 10.7.0: an option that was renamed is still read under its old name from a file, with a
# warning. Under its old name in the environment it is not read, and nobody says so: the option has
# its default. By the documentation `deprecated_name` is one more name of the option, and the
# environment ranks between the command line and the files. So a unit's Environment=OS_DEFAULT__OLD=…
# loses its effect with the release that renames the option.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.config==10.7.0
printf '[DEFAULT]\nold = set\n' >"$folder/old.conf"
printf '[DEFAULT]\n' >"$folder/empty.conf"
cat >"$folder/try.py" <<'TRY'
import logging
import sys

from oslo_config import cfg

logging.basicConfig(format="%(levelname)s", stream=sys.stdout)
conf = cfg.ConfigOpts()
conf.register_opts([cfg.StrOpt("new", deprecated_name="old", default="default")])
conf([], default_config_files=[sys.argv[1]])
print(conf.new)
TRY
python="$folder/venv/bin/python -W ignore"
{
    echo "old name in a file:"
    $python "$folder/try.py" "$folder/old.conf"
    echo "old name in the environment:"
    OS_DEFAULT__OLD=set $python "$folder/try.py" "$folder/empty.conf"
    echo "new name in the environment:"
    OS_DEFAULT__NEW=set $python "$folder/try.py" "$folder/empty.conf"
} >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
old name in a file:
WARNING
set
old name in the environment:
default
new name in the environment:
set
SAID
