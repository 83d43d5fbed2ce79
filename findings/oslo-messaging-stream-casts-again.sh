#!/bin/sh
# oslo.messaging 18.3.1 with Debian 12's RabbitMQ 3.10.8: cast() is documented to guarantee that a
# method is not executed twice at one destination. With rabbit_stream_fanout = true it is. A stream
# keeps the casts to all servers of a topic, and a server that starts begins with the last that is
# there. So a server that is restarted executes the last cast once more, and a new one executes a
# cast from before its time. Without that option neither does.
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
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.messaging==18.3.1
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
export RABBITMQ_NODENAME=fanout@localhost RABBITMQ_DIST_PORT="$dist" RABBITMQ_ALLOW_INPUT=yes
export RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE="$folder/rabbitmq"
export RABBITMQ_ENABLED_PLUGINS_FILE="$folder/no-plugins" RABBITMQ_MNESIA_BASE="$folder/mnesia"
export RABBITMQ_LOG_BASE="$folder/log"
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-noinput -setcookie fanout"
epmd -port "$epmd" -address 127.0.0.1 >"$folder/epmd" 2>&1 </dev/null &
pids="$!"
printf 'listeners.tcp.1 = 127.0.0.1:%s\n' "$port" >"$folder/rabbitmq.conf"
/usr/lib/rabbitmq/bin/rabbitmq-server >"$folder/node" 2>&1 </dev/null &
server=$!
pids="$pids $server"
printf 'rabbit:is_running().\n' >"$folder/running"
until erl_call -r -c fanout -n fanout@localhost -e <"$folder/running" 2>&1 | grep -q '{ok, true}'; do
    kill -0 "$server"
    sleep 0.5
done
cat >"$folder/try.py" <<'TRY'
import sys
import time

import oslo_messaging
from oslo_config import cfg

SECONDS = 60  # until a server of this machine has subscribed


class Endpoint:
    def __init__(self):
        self.had = []

    def work(self, context, text):
        self.had.append(text)


def served(*texts):
    """What a server is given: what comes by itself, and these casts."""
    endpoint = Endpoint()
    bus = oslo_messaging.get_rpc_transport(cfg.CONF)
    target = oslo_messaging.Target(topic="topic", server="host")
    server = oslo_messaging.get_rpc_server(bus, target, [endpoint], executor="threading")
    client = oslo_messaging.get_rpc_client(bus, oslo_messaging.Target(topic="topic", fanout=True))
    server.start()
    end = time.monotonic() + SECONDS
    while "are you there" not in endpoint.had and time.monotonic() < end:
        client.cast({}, "work", text="are you there")
        time.sleep(0.5)
    for text in texts:
        client.cast({}, "work", text=text)
        while text not in endpoint.had and time.monotonic() < end:
            time.sleep(0.1)
    server.stop()
    server.wait()
    bus.cleanup()
    return [text for text in endpoint.had if text != "are you there"]


cfg.CONF([], default_config_files=[sys.argv[1]])
print("its first run:", *served("first", "second"))
print("its second run:", *served())
TRY
for stream in false true; do
    printf '%s\n' '[DEFAULT]' "transport_url = rabbit://127.0.0.1:$port/" '[oslo_messaging_rabbit]' \
        'rabbit_transient_quorum_queue = true' 'rabbit_qos_prefetch_count = 10' \
        "rabbit_stream_fanout = $stream" >"$folder/$stream.conf"
    echo "rabbit_stream_fanout = $stream"
    "$folder/venv/bin/python" -W ignore "$folder/try.py" "$folder/$stream.conf"
done >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
rabbit_stream_fanout = false
its first run: first second
its second run:
rabbit_stream_fanout = true
its first run: first second
its second run: second
SAID
