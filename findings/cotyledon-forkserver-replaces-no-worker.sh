#!/bin/sh
# cotyledon 2.2.0 with multiprocessing's forkserver, which is the default start method of Python 3.14
# on Linux, never replaces a worker that dies: the worker is a child of the fork server, so the
# supervisor neither gets its SIGCHLD nor can wait for it. With fork the next worker runs at once.
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

method, path = sys.argv[1:]


class Worker(cotyledon.Service):
    def run(self):
        with open(path, "a") as file:
            file.write(f"{os.getpid()}\n")
        threading.Event().wait()


def pids():
    with open(path) as file:
        return [int(line) for line in file if line.endswith("\n")]


def wait_for(number, seconds):
    end = time.monotonic() + seconds
    while len(pids()) < number and time.monotonic() < end:
        time.sleep(0.05)
    return len(pids()) >= number


def kill_the_first():
    assert wait_for(1, 60)
    os.kill(pids()[0], signal.SIGKILL)
    replaced = wait_for(2, 15)
    print(f"{method}: a killed worker is", "replaced" if replaced else "not replaced", flush=True)
    for pid in pids()[1:]:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    open(path, "w").close()
    manager = cotyledon.ServiceManager(mp_context=multiprocessing.get_context(method))
    manager.add(Worker, workers=1)
    threading.Thread(target=kill_the_first, daemon=True).start()
    manager.run()
END
for method in fork forkserver; do
    "$folder/venv/bin/python" -W ignore "$folder/try.py" $method "$folder/pids"
done >"$folder/said"
cat >"$folder/expected" <<'END'
fork: a killed worker is replaced
forkserver: a killed worker is not replaced
END
cat "$folder/said"
diff "$folder/expected" "$folder/said"
