#!/bin/sh
# oslo.reports 3.9.0: one option with a wrong value takes the whole report. setup_autorun() is
# documented to write a report, to stderr or into a folder, whenever the signal comes. The report has
# each option that is registered, and one of them that cannot be read (here a library's, which the
# program itself never reads) ends it: no threads, no stacks, no processes, only a traceback and
# "Unable to run Guru Meditation Report!". That is when one looks for what is wrong with a service.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.reports==3.9.0 oslo.config==10.7.0
cat >"$folder/try.py" <<'TRY'
import os
import signal
import sys

from oslo_config import cfg
from oslo_reports import guru_meditation_report, opts


class Version:
    def vendor_string(self):
        return "try"

    product_string = version_string_with_package = vendor_string


cfg.CONF.register_opts([cfg.IntOpt("interval")])
opts.set_defaults(cfg.CONF)
cfg.CONF([], default_config_files=[sys.argv[1]])
guru_meditation_report.TextGuruMeditation.setup_autorun(Version(), conf=cfg.CONF)
os.kill(os.getpid(), signal.SIGUSR2)
TRY
for value in 60 sixty; do
    printf '[DEFAULT]\ninterval = %s\n' "$value" >"$folder/conf"
    "$folder/venv/bin/python" -W ignore "$folder/try.py" "$folder/conf" 2>"$folder/report"
    for text in 'Thread #' 'Unable to run Guru Meditation Report!'; do
        grep -q "$text" "$folder/report" && echo "$value: $text" || true
    done
done >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
60: Thread #
sixty: Unable to run Guru Meditation Report!
SAID
