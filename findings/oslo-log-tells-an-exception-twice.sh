#!/bin/sh
# oslo.log 8.3.2 appends the text of the exception that is being handled to a record of WARNING and
# above, though nobody gave it exc_info. So the usual `LOG.warning("it failed: %s", error)` inside an
# `except` says the error twice. It happens when the format has no %(error_summary)s, and not for
# ValueError, TypeError, KeyError, AttributeError and ImportError, whose texts are held to be of no
# use. Outside the `except` the same line says it once.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.log==8.3.2
cat >"$folder/try.py" <<'END'
import logging

from oslo_config import cfg
from oslo_log import log

conf = cfg.ConfigOpts()
log.register_options(conf)
conf([], project="try")
conf.set_override("logging_default_format_string", "%(message)s")
log.setup(conf, "try")
for kind in (OSError, ValueError):
    try:
        raise kind("disk is away")
    except kind as error:
        logging.getLogger("try").warning("%s inside: %s", kind.__name__, error)
        kept = error
    logging.getLogger("try").warning("%s outside: %s", kind.__name__, kept)
END
"$folder/venv/bin/python" -W ignore "$folder/try.py" >"$folder/said" 2>&1
cat "$folder/said"
cat >"$folder/expected" <<'END'
OSError inside: disk is away: OSError: disk is away
OSError outside: disk is away
ValueError inside: disk is away
ValueError outside: disk is away
END
diff "$folder/expected" "$folder/said"
