#!/bin/sh
# CPython 3.14.10: `python -m pdb -p PID` and sys.remote_exec(), by their documentation, have the
# main thread of a running process execute what the debugger wants. In a process that was forked by
# a thread other than the main one they find no main thread and give up. It has one: to
# threading.main_thread() it is the thread that forked. So it is with the workers of each
# supervisor that forks in a thread, as cotyledon 2.2.0 does.
# Runs Debian's Python in a folder. Needs root and the Debian package mmdebstrap.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/try.py" <<'END'
import os
import signal
import subprocess
import sys
import threading
import time


def fork():
    pid = os.fork()
    if pid == 0:
        assert threading.current_thread() is threading.main_thread()
        while True:
            time.sleep(0.1)
    return pid


def attach(forked_by, pid):
    pdb = [sys.executable, "-m", "pdb", "-p", str(pid)]
    try:
        done = subprocess.run(pdb, input="p 6 * 7\nq\n", text=True, capture_output=True, timeout=60)
    finally:
        os.kill(pid, signal.SIGKILL)
    told = "42" if "(Pdb) 42" in done.stdout else done.stderr.strip().splitlines()[-1]
    print(f"forked by {forked_by}: {told}")


attach("the main thread", fork())
forked = []
thread = threading.Thread(target=lambda: forked.append(fork()))
thread.start()
thread.join()
attach("another thread", forked[0])
END
mmdebstrap --quiet --variant=minbase --include=python3.14 --format=null \
    --aptopt='Acquire::Check-Valid-Until "false"' --customize-hook="copy-in $folder/try.py /" \
    --customize-hook="chroot \"\$1\" python3.14 -W ignore /try.py >$folder/said" forky
cat "$folder/said"
diff - "$folder/said" <<'SAID'
forked by the main thread: 42
forked by another thread: RuntimeError: Can't find the main thread in the remote process
SAID
