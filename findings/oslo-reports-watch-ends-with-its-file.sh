#!/bin/sh
# oslo.reports 3.9.0: with file_event_handler, by its documentation, a change of the file that it
# names makes a report, in place of the signal. If the file is away for a moment, as when it is
# written anew by remove and create, the thread that watches ends with an OSError: no later change
# makes a report until the program starts anew, and the signal is off. The report's name begins with
# threading.py: service_name, by default the program's name, is taken from the bottom of the stack,
# and in this thread that is the module of threads.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.reports==3.9.0 oslo.config==10.7.0
mkdir "$folder/reports"
cat >"$folder/try.py" <<'TRY'
import os
import sys
import threading
import time

from oslo_config import cfg
from oslo_reports import guru_meditation_report, opts

path, reports = sys.argv[1:]
ended = threading.Event()
threading.excepthook = lambda args: (print("the watch ends:", args.exc_type.__name__), ended.set())


class Version:
    def vendor_string(self):
        return "try"

    product_string = version_string_with_package = vendor_string


def touch(seconds):
    with open(path, "w"):
        pass
    os.utime(path, (time.time() + seconds,) * 2)


def another_report(before):
    end = time.monotonic() + 10
    while len(os.listdir(reports)) == before and time.monotonic() < end:
        time.sleep(0.1)
    return len(os.listdir(reports)) > before


touch(0)
opts.set_defaults(cfg.CONF)
cfg.CONF([], default_config_files=[])
cfg.CONF.set_override("file_event_handler", path, group="oslo_reports")
cfg.CONF.set_override("log_dir", reports, group="oslo_reports")
guru_meditation_report.TextGuruMeditation.setup_autorun(Version(), conf=cfg.CONF)
touch(100)
print("a report after a change:", another_report(0))
print("its name:", os.listdir(reports)[0].split("_")[0])
os.unlink(path)
ended.wait(30)
touch(200)
print("a report after the file is back:", another_report(1))
TRY
"$folder/venv/bin/python" -W ignore "$folder/try.py" "$folder/watched" "$folder/reports" >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
a report after a change: True
its name: threading.py
the watch ends: OSError
a report after the file is back: False
SAID
