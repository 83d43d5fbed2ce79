#!/bin/sh
# cotyledon 2.2.0: by its documentation an exception that comes out of a worker's run() is logged
# and ends the worker, and the supervisor starts another one. sys.exit() with a text, which is how
# Python ends a program and says why, does not end it, nor does sys.exit() without anything:
# cotyledon hands on what it was called with to os._exit(), which takes numbers only. The worker
# lives on and does nothing, and nobody replaces it. With a number it ends. The status of the others
# is 2, not 1 as documented.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install cotyledon==2.2.0
cat >"$folder/try.py" <<'END'
import multiprocessing
import os
import signal
import sys
import threading
import time

import cotyledon

ENDS = {
    "an error": lambda: {}["missing"],
    "sys.exit(3)": lambda: sys.exit(3),
    "sys.exit()": lambda: sys.exit(),
    "sys.exit with a text": lambda: sys.exit("there is no list of hosts"),
}


class Worker(cotyledon.Service):
    def __init__(self, worker_id, end):
        super().__init__(worker_id)
        self.run = ENDS[end]


def died(service, _, status):
    statuses[names[service]].append(status)


def look():
    """Those that end do so several times meanwhile."""
    end = time.monotonic() + 60
    often = [statuses["an error"], statuses["sys.exit(3)"]]
    while min(map(len, often)) < 3 and time.monotonic() < end:
        time.sleep(0.1)
    for name, seen in statuses.items():
        print(f"{name}: {f'ends with {seen[0]}, is replaced' if seen else 'goes on'}", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


statuses = {name: [] for name in ENDS}
manager = cotyledon.ServiceManager(mp_context=multiprocessing.get_context("fork"))
names = {manager.add(Worker, args=(name,)): name for name in ENDS}
manager.register_hooks(on_dead_worker=died)
threading.Thread(target=look, daemon=True).start()
manager.run()
END
"$folder/venv/bin/python" -W ignore "$folder/try.py" >"$folder/said" 2>"$folder/errors" ||
    cat "$folder/errors"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
an error: ends with 2, is replaced
sys.exit(3): ends with 3, is replaced
sys.exit(): goes on
sys.exit with a text: goes on
SAID
