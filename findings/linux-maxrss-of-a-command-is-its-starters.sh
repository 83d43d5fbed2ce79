#!/bin/sh
# Linux keeps the highest memory of a process over execve(2): ru_maxrss of wait4(2) and getrusage(2)
# begins with what the process had before it executed the command. A child of vfork, as Python's
# subprocess makes it, has its parent's memory until then. So any small command that a program of
# 300 MB starts is said to have taken 300 MB. VmHWM in /proc/PID/status begins anew with the command.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/try.py" <<'END'
import os
import subprocess

LARGE = 300 << 10  # KiB
ballast = b"x" * (LARGE << 10)
command = ["grep", "VmHWM", "/proc/self/status"]
process = subprocess.Popen(command, stdout=subprocess.PIPE)
own = int(process.stdout.read().split()[1])
_, _, usage = os.wait4(process.pid, 0)
print("VmHWM is below 30 MB:", own < LARGE // 10)
print("ru_maxrss is above 300 MB:", usage.ru_maxrss > LARGE)
END
python3 "$folder/try.py" >"$folder/said"
cat "$folder/said"
cat >"$folder/expected" <<'END'
VmHWM is below 30 MB: True
ru_maxrss is above 300 MB: True
END
diff "$folder/expected" "$folder/said"
