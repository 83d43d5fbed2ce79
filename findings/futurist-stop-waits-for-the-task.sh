#!/bin/sh
# futurist 3.5.0: PeriodicWorker.stop() only has to set a flag, but it waits for the task that is
# running. With the default executor the loop runs tasks while it holds the lock that stop() needs
# (add() needs it too). So whoever stops a service from a signal's thread waits for as long as the
# longest task, and its own time limit does not count.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install futurist==3.5.0
cat >"$folder/try.py" <<'END'
import threading

from futurist import periodics

running, release, stopped = threading.Event(), threading.Event(), threading.Event()


@periodics.periodic(0.1, run_immediately=True)
def task():
    running.set()
    release.wait()


worker = periodics.PeriodicWorker([(task, (), {})])
loop = threading.Thread(target=worker.start)
loop.start()
running.wait()
threading.Thread(target=lambda: (worker.stop(), stopped.set())).start()
print("stop() has returned after 3 s:", stopped.wait(3))
release.set()
print("stop() has returned when the task is over:", stopped.wait(60))
loop.join()
END
"$folder/venv/bin/python" "$folder/try.py" >"$folder/said"
cat >"$folder/expected" <<'END'
stop() has returned after 3 s: False
stop() has returned when the task is over: True
END
cat "$folder/said"
diff "$folder/expected" "$folder/said"
