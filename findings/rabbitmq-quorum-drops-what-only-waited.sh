#!/bin/sh
# Debian 12's RabbitMQ 3.10.8: a quorum queue with a delivery limit (a default of 20 in RabbitMQ 4)
# drops messages that nobody worked on. By the manual the limit is for messages that their consumers
# give back time and again. It counts each message that a consumer had, as soon as it was prefetched:
# here nothing is ever taken up, one consumer after the other is stopped with two messages at hand, as
# in a rolling restart of workers, and after one stop more than the limit both are gone, without an
# acknowledgement and without a line in the log. A classic queue keeps them.
# Needs the Debian packages rabbitmq-server and python3-venv; the node is our own, on loopback.
set -eu
folder=$(mktemp -d)
pids=
stop() {
    [ -z "$pids" ] || kill -9 $pids 2>"$folder/err" || true
    rm -rf "$folder"
}
trap stop EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install amqp==5.4.2
cat >"$folder/ports.py" <<'TRY'
import socket

sockets = [socket.socket() for _ in range(3)]
for one in sockets:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in sockets))
TRY
read -r port epmd dist <<PORTS
$(python3 "$folder/ports.py")
PORTS
export HOME="$folder" ERL_EPMD_PORT="$epmd" ERL_EPMD_ADDRESS=127.0.0.1
export RABBITMQ_NODENAME=limit@localhost RABBITMQ_DIST_PORT="$dist" RABBITMQ_ALLOW_INPUT=yes
export RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE="$folder/rabbitmq"
export RABBITMQ_ENABLED_PLUGINS_FILE="$folder/no-plugins" RABBITMQ_MNESIA_BASE="$folder/mnesia"
export RABBITMQ_LOG_BASE="$folder/log"
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-noinput -setcookie limit"
epmd -port "$epmd" -address 127.0.0.1 >"$folder/epmd" 2>&1 </dev/null &
pids="$!"
printf 'listeners.tcp.1 = 127.0.0.1:%s\n' "$port" >"$folder/rabbitmq.conf"
/usr/lib/rabbitmq/bin/rabbitmq-server >"$folder/node" 2>&1 </dev/null &
server=$!
pids="$pids $server"
printf 'rabbit:is_running().\n' >"$folder/running"
until erl_call -r -c limit -n limit@localhost -e <"$folder/running" 2>&1 | grep -q '{ok, true}'; do
    kill -0 "$server"
    sleep 0.5
done
cat >"$folder/try.py" <<'TRY'
import sys
import time

import amqp


def connect():
    connection = amqp.Connection(f"127.0.0.1:{sys.argv[1]}")
    connection.connect()
    return connection


def stopped_consumer(name):
    """How many messages a consumer has at hand when it is stopped."""
    with connect() as connection:
        channel = connection.channel()
        channel.basic_qos(0, 10, False)
        had = []
        channel.basic_consume(name, callback=had.append)
        end = time.monotonic() + 5
        while len(had) < 2 and time.monotonic() < end:
            try:
                connection.drain_events(timeout=0.5)
            except TimeoutError:
                pass
        return len(had)


for kind in ("classic", "quorum"):
    with connect() as connection:
        channel = connection.channel()
        arguments = {"x-queue-type": kind}
        if kind == "quorum":
            arguments["x-delivery-limit"] = 3
        channel.queue_declare(kind, durable=True, auto_delete=False, arguments=arguments)
        channel.confirm_select()
        for text in ("first", "second"):
            channel.basic_publish_confirm(amqp.Message(text, delivery_mode=2), routing_key=kind)
    print(kind, "queue: consumers had", *(stopped_consumer(kind) for _ in range(6)))
TRY
"$folder/venv/bin/python" -W ignore "$folder/try.py" "$port" >"$folder/said"
lines=$(cat "$folder"/log/*.log | grep -ci 'delivery.limit\|dropped' || true)
echo "lines of the log on it: $lines" >>"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
classic queue: consumers had 2 2 2 2 2 2
quorum queue: consumers had 2 2 2 2 0 0
lines of the log on it: 0
SAID
