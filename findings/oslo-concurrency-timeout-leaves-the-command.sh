#!/bin/sh
# oslo.concurrency 7.6.1: processutils.execute(timeout=…) raises subprocess.TimeoutExpired when the
# time is over, as its documentation says. The command goes on, and the caller has nothing to end it
# with, unless it had asked for the process by on_execute. subprocess.run(), whose exception it is,
# promises to kill the child then and to wait for its end. So a periodic task whose command hangs
# leaves one more of them each time.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.concurrency==7.6.1
cat >"$folder/try.py" <<'TRY'
import os
import signal
import subprocess

from oslo_concurrency import processutils


def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return [int(pid) for pid in file.read().split()]


for name, call in (
    ("subprocess.run()", lambda: subprocess.run(["sleep", "60"], timeout=1)),
    ("execute()", lambda: processutils.execute("sleep", "60", timeout=1)),
):
    try:
        call()
    except subprocess.TimeoutExpired:
        print("after the timeout of", name, "there are", len(children()), "processes")
for pid in children():
    os.kill(pid, signal.SIGKILL)
TRY
"$folder/venv/bin/python" -W ignore "$folder/try.py" >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
after the timeout of subprocess.run() there are 0 processes
after the timeout of execute() there are 1 processes
SAID
