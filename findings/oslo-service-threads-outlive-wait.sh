#!/bin/sh
# oslo.service 4.8.0, threading backend: ThreadGroup.stop() forgets the threads of the group, so that
# wait() after it returns at once while their work goes on, into whatever the process does next. With
# eventlet's backend stop() ends them. stop(graceful=True) waits for them.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install 'oslo.service[threading]==4.8.0'
cat >"$folder/try.py" <<'END'
import threading

from oslo_service import backend

backend.init_backend(backend.BackendType.THREADING)

from oslo_service import threadgroup

running, release, ended = threading.Event(), threading.Event(), threading.Event()


def work():
    running.set()
    release.wait()
    ended.set()


group = threadgroup.ThreadGroup()
group.add_thread(work)
running.wait()
group.stop()
group.wait()
print("stop() and wait() have returned. The work has ended:", ended.is_set())
release.set()
print("It ends later:", ended.wait(60))
END
"$folder/venv/bin/python" -W ignore "$folder/try.py" >"$folder/said"
cat >"$folder/expected" <<'END'
stop() and wait() have returned. The work has ended: False
It ends later: True
END
cat "$folder/said"
diff "$folder/expected" "$folder/said"
