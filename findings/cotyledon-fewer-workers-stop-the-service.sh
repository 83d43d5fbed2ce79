#!/bin/sh
# cotyledon 2.2.0: ServiceManager.reconfigure() sets, by its documentation, how many workers a
# service has. More of them works: the supervisor starts them when it looks next. Fewer does not: it
# ends what is too many, and starts each of these again when it has ended. Mostly either one too
# many is left (from 4 to 2: three), or the whole service stops (from 4 to 3), with status 0 and no
# word of why.
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
from pathlib import Path

import cotyledon

before, after = map(int, sys.argv[1:])


class Worker(cotyledon.Service):
    def run(self):
        threading.Event().wait()


def workers():
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return sum(len(children.read_text().split()) for children in tasks)


def reconfigure():
    while workers() < before:
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(5)
    print(workers(), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


manager = cotyledon.ServiceManager(mp_context=multiprocessing.get_context("fork"))
service = manager.add(Worker, workers=before)
manager.register_hooks(on_reload=lambda: manager.reconfigure(service, after))
threading.Thread(target=reconfigure, daemon=True).start()
manager.run()
END
for numbers in "2 4" "4 3" "4 2"; do
    told=yes
    for _ in 1 2 3; do
        left=$("$folder/venv/bin/python" -W ignore "$folder/try.py" $numbers)
        [ "$left" = "${numbers#* }" ] || told=no
    done
    echo "from ${numbers% *} to ${numbers#* } workers, thrice: $told"
done >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
from 2 to 4 workers, thrice: yes
from 4 to 3 workers, thrice: no
from 4 to 2 workers, thrice: no
SAID
