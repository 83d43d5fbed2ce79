"""The least that a service with a watchdog can be: what ours is compared with."""

import os
import socket
import threading

with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
    systemd.connect(os.environ["NOTIFY_SOCKET"])
    systemd.send(b"READY=1")
    while True:
        systemd.send(b"WATCHDOG=1")
        threading.Event().wait(int(os.environ["WATCHDOG_USEC"]) / 4e6)
