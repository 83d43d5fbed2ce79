#!/bin/sh
# oslo.concurrency 7.6.1: lockutils.lock(fair=True) differs from fair=False, by its documentation, in
# the order only: who came first gets the lock first. It differs in what it locks as well: the thread
# that has the fair lock gets it again, at any depth. The usual lock keeps that thread out as it does
# others. So a function that must not run inside itself (called anew by a callback, say) does so once
# its lock is made fair.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.concurrency==7.6.1
cat >"$folder/try.py" <<'TRY'
import threading

from oslo_concurrency import lockutils


def nested(fair, inside):
    with lockutils.lock(f"fair={fair}", fair=fair):
        with lockutils.lock(f"fair={fair}", fair=fair):
            inside.set()


for fair in (False, True):
    inside = threading.Event()
    threading.Thread(target=nested, args=(fair, inside), daemon=True).start()
    print(f"fair={fair}: its own thread gets in", "again" if inside.wait(3) else "once")
TRY
"$folder/venv/bin/python" -W ignore "$folder/try.py" >"$folder/said"
cat "$folder/said"
printf 'fair=False: its own thread gets in once\nfair=True: its own thread gets in again\n' |
    diff - "$folder/said"
