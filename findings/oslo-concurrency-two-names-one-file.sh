#!/bin/sh
# oslo.concurrency 7.6.1: lockutils.lock(external=True) is documented to hold over processes: one
# worker at a time is in what it guards. Its file is named after the lock with each / made a _, so the
# locks disk/1 and disk_1 have one file, and the kernel gives up a process's lock of a file when any
# descriptor of that file is closed. A process that holds disk/1 and takes and gives back disk_1 has
# lost disk/1 without knowing: another one gets it. With disk_2 in between it keeps disk/1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.concurrency==7.6.1
mkdir "$folder/locks"
cat >"$folder/try.py" <<'TRY'
import subprocess
import sys

from oslo_concurrency import lockutils

lockutils.set_defaults(sys.argv[1])
OTHER = """
import sys
from oslo_concurrency import lockutils

lockutils.set_defaults(sys.argv[1])
try:
    with lockutils.lock("disk/1", external=True, blocking=False):
        print("gets it")
except lockutils.AcquireLockFailedException:
    print("does not get it")
"""


def another_process():
    command = [sys.executable, "-W", "ignore", "-c", OTHER, sys.argv[1]]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


for between in ("disk_2", "disk_1"):
    with lockutils.lock("disk/1", external=True):
        print("disk/1 is held here, another process", another_process())
        with lockutils.lock(between, external=True):
            pass
        print(f"after {between} another process", another_process())
TRY
"$folder/venv/bin/python" -W ignore "$folder/try.py" "$folder/locks" >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
disk/1 is held here, another process does not get it
after disk_2 another process does not get it
disk/1 is held here, another process does not get it
after disk_1 another process gets it
SAID
