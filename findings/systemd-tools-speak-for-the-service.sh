#!/bin/sh
# systemd 252: a tool of systemd that fails tells so to $NOTIFY_SOCKET, as ERRNO=. By sd_notify(3)
# ERRNO is the number of the error by which a service failed. But the socket is that of the service in
# whose script the tool runs: with NotifyAccess=all a service that asks for a credential that is
# optional, or has a time span of its user's checked, is said to have failed, and `systemctl show` has
# StatusErrno=2 of a service that is well. A tool that succeeds is silent, and so is journalctl. Needs
# the Debian package systemd.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/try.py" <<'END_OF_TRY'
import os
import socket
import subprocess
import sys

systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
systemd.bind(sys.argv[1])
systemd.setblocking(False)
environment = dict(os.environ, NOTIFY_SOCKET=sys.argv[1], CREDENTIALS_DIRECTORY=sys.argv[2])
for command in (
    "systemd-analyze timespan 5min",
    "systemd-analyze timespan soon",
    "systemd-creds cat optional",
    "systemd-path optional",
    "journalctl --since=soon",
):
    status = subprocess.run(command.split(), env=environment, capture_output=True).returncode
    try:
        told = systemd.recv(100).decode()
    except BlockingIOError:
        told = "nothing"
    print(f"{command}: status {status}, systemd is told {told}")
END_OF_TRY
mkdir "$folder/credentials"
python3 "$folder/try.py" "$folder/notify" "$folder/credentials" >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'END'
systemd-analyze timespan 5min: status 0, systemd is told nothing
systemd-analyze timespan soon: status 1, systemd is told ERRNO=22
systemd-creds cat optional: status 1, systemd is told ERRNO=2
systemd-path optional: status 1, systemd is told ERRNO=95
journalctl --since=soon: status 1, systemd is told nothing
END
