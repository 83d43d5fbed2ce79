#!/bin/sh
# kombu 5.7.0: Connection.ensure_connection(timeout=…) is documented as the time that all attempts to
# connect may take together. It is looked at between attempts only. Neither the pause before the next
# attempt nor an attempt itself is cut: with a limit of 1 s, a pause of 4 s takes 4 s, and a server
# that accepts and says nothing takes the 5 s of connect_timeout.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install kombu==5.7.0
cat >"$folder/try.py" <<'TRY'
import socket
import time

from kombu import Connection


def attempt(what, port, **pause):
    began = time.monotonic()
    try:
        Connection(f"amqp://127.0.0.1:{port}//").ensure_connection(timeout=1, **pause)
    except Exception as error:
        kept = "kept" if time.monotonic() - began < 2.5 else "over"
        print(f"{what}: {type(error).__name__}, the limit of 1 s is {kept}")


with socket.socket() as refusing, socket.socket() as silent:
    refusing.bind(("127.0.0.1", 0))
    silent.bind(("127.0.0.1", 0))
    silent.listen()
    port = refusing.getsockname()[1]
    attempt("refused, short pauses", port, interval_start=0.2, interval_step=0)
    attempt("refused, long pauses", port, interval_start=4, interval_step=0)
    attempt("a silent server", silent.getsockname()[1])
TRY
"$folder/venv/bin/python" -W ignore "$folder/try.py" >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
refused, short pauses: OperationalError, the limit of 1 s is kept
refused, long pauses: OperationalError, the limit of 1 s is over
a silent server: OperationalError, the limit of 1 s is over
SAID
