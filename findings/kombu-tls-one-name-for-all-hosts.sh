#!/bin/sh
# kombu 5.7.0: with server_hostname = None in the ssl parameters, the name to check a certificate
# against is that of the host in the URL. With several hosts in the URL it is the first one's for
# all: kombu writes the name into the parameters, which the next hosts share. Nothing listens on
# the ports here; with brokers, the second one's certificate does not fit, and no client gets in.
# oslo.messaging 18.3 gives these parameters for a transport_url of several hosts.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install kombu==5.7.0
cat >"$folder/try.py" <<'END'
from kombu import Connection

url = "amqp://127.0.0.1:1//;amqp://127.0.0.2:1//"
connection = Connection(url, ssl={"server_hostname": None}, failover_strategy="round-robin")
tried = []


def refused(error, interval):
    tried.append((connection.hostname, connection.ssl["server_hostname"]))


try:
    connection.ensure_connection(errback=refused, max_retries=3, interval_start=0, interval_step=0)
except Exception:
    pass
for host, name in dict.fromkeys(tried):
    print("connects to", host, "and expects", name)
END
"$folder/venv/bin/python" "$folder/try.py" >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'END'
connects to 127.0.0.1 and expects 127.0.0.1
connects to 127.0.0.2 and expects 127.0.0.1
END
