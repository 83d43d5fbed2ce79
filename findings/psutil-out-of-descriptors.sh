#!/bin/sh
# psutil 7.2.2: a process that has no descriptor left gets a bare OSError (EMFILE) of nearly every
# look at another process, and no psutil.Error. `except psutil.Error`, which its manual shows, does
# not catch it: a supervisor that looks at its children dies of it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install psutil==7.2.2
cat >"$folder/try.py" <<'END'
import errno
import os
import resource

import psutil

process = psutil.Process(os.getppid())
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
held = []
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
for look in ("status", "cpu_times", "cmdline", "memory_full_info"):
    try:
        getattr(process, look)()
        told = "answered"
    except psutil.Error as error:
        told = f"psutil.{type(error).__name__}"
    except OSError as error:
        told = f"OSError {errno.errorcode[error.errno]}"
    os.write(1, f"{look}: {told}\n".encode())
END
"$folder/venv/bin/python" "$folder/try.py" >"$folder/said"
cat "$folder/said"
for look in status cpu_times cmdline memory_full_info; do echo "$look: OSError EMFILE"; done |
    diff - "$folder/said"
