#!/bin/sh
# sdnotify 0.3.2 encodes messages as latin-1, though sd_notify(3) wants UTF-8, and it swallows the
# error if there is no such letter. So a STATUS with a euro sign never arrives, and READY=1 in the
# same message is lost with it: the unit runs into its start timeout.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install sdnotify==0.3.2
cat >"$folder/try.py" <<'END'
import os
import socket
import sys

import sdnotify

systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
systemd.bind(sys.argv[1])
systemd.setblocking(False)
os.environ["NOTIFY_SOCKET"] = sys.argv[1]
notifier = sdnotify.SystemdNotifier()
for message in ("READY=1\nSTATUS=costs 5 EUR", "READY=1\nSTATUS=costs 5 \u20ac", "STATUS=\u00e9t\u00e9"):
    notifier.notify(message)
    try:
        print(ascii(message), "arrives as", systemd.recv(100))
    except BlockingIOError:
        print(ascii(message), "does not arrive")
END
"$folder/venv/bin/python" "$folder/try.py" "$folder/notify" >"$folder/said"
cat >"$folder/expected" <<'END'
'READY=1\nSTATUS=costs 5 EUR' arrives as b'READY=1\nSTATUS=costs 5 EUR'
'READY=1\nSTATUS=costs 5 \u20ac' does not arrive
'STATUS=\xe9t\xe9' arrives as b'STATUS=\xe9t\xe9'
END
cat "$folder/said"
diff "$folder/expected" "$folder/said"
