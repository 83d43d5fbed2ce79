#!/bin/sh
# cotyledon 2.2.0 tells systemd READY=1 as the first thing in ServiceManager.run(): before the first
# worker is forked, and long before one serves. So `systemctl start` of a Type=notify unit succeeds
# though each worker fails in its constructor.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install cotyledon==2.2.0
cat >"$folder/try.py" <<'END'
import os
import signal
import socket
import sys

import cotyledon

systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
systemd.bind(sys.argv[1])
systemd.setblocking(False)


class Worker(cotyledon.Service):
    def __init__(self, worker_id):
        super().__init__(worker_id)
        print("In the constructor of the first worker systemd has", systemd.recv(100).decode())
        sys.stdout.flush()

    def run(self):
        os.kill(os.getppid(), signal.SIGTERM)


manager = cotyledon.ServiceManager()
manager.add(Worker, workers=1)
manager.run()
END
NOTIFY_SOCKET="$folder/notify" "$folder/venv/bin/python" -W ignore "$folder/try.py" "$folder/notify" \
    >"$folder/said"
echo "In the constructor of the first worker systemd has READY=1" >"$folder/expected"
cat "$folder/said"
diff "$folder/expected" "$folder/said"
