#!/bin/sh
# oslo.messaging 18.3.1 with Debian 12's RabbitMQ 3.10.8: while the broker has an alarm of memory or
# disk, it reads nothing from who publishes. A client that makes a call with a timeout shorter than
# the alarm waits for the broker's confirmation that long, connects anew and sends the same call
# again, as often as the alarm lasts. Two things come of it. The call does not end at its timeout
# (here 3 s) but after the alarm (here 12 s). And the broker has two copies then: two servers of the
# topic execute one call, which was acknowledged before its execution and should run once at most.
# Each server process knows only the copies that it had itself. A longer timeout sends it once.
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
cat >"$folder/ports.py" <<'END'
import socket

sockets = [socket.socket() for _ in range(3)]
for one in sockets:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in sockets))
END
read -r port epmd dist <<END
$(python3 "$folder/ports.py")
END
export HOME="$folder" ERL_EPMD_PORT="$epmd" ERL_EPMD_ADDRESS=127.0.0.1
export RABBITMQ_NODENAME=alarm@localhost RABBITMQ_DIST_PORT="$dist" RABBITMQ_ALLOW_INPUT=yes
export RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE="$folder/rabbitmq"
export RABBITMQ_ENABLED_PLUGINS_FILE="$folder/no-plugins" RABBITMQ_MNESIA_BASE="$folder/mnesia"
export RABBITMQ_LOG_BASE="$folder/log"
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-noinput -setcookie alarm"
epmd -port "$epmd" -address 127.0.0.1 >"$folder/epmd" 2>&1 </dev/null &
pids="$!"
printf 'listeners.tcp.1 = 127.0.0.1:%s\n' "$port" >"$folder/rabbitmq.conf"
/usr/lib/rabbitmq/bin/rabbitmq-server >"$folder/node" 2>&1 </dev/null &
server=$!
pids="$pids $server"

# Evaluates Erlang in the node.
node() {
    printf '%s.\n' "$1" | erl_call -r -c alarm -n alarm@localhost -e 2>&1
}
until node 'rabbit:is_running()' | grep -q '{ok, true}'; do
    kill -0 "$server"
    sleep 0.5
done
url=rabbit://guest:guest@127.0.0.1:$port/
cat >"$folder/server.py" <<'END'
import sys

import oslo_messaging
from oslo_config import cfg

url, name, ledger = sys.argv[1:]
cfg.CONF([], project="alarm")


class Endpoint:
    def work(self, context, key):
        with open(ledger, "a") as file:
            file.write(f"{key} by {name}\n")


transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=url)
target = oslo_messaging.Target(topic="alarm", server=name)
server = oslo_messaging.get_rpc_server(transport, target, [Endpoint()], executor="threading")
server.start()
print("ready", flush=True)
sys.stdin.read()
END
cat >"$folder/client.py" <<'END'
import sys
import time

import oslo_messaging
from oslo_config import cfg

url, timeout, key = sys.argv[1:]
cfg.CONF([], project="alarm")
transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=url)
target = oslo_messaging.Target(topic="alarm")
client = oslo_messaging.get_rpc_client(transport, target, timeout=float(timeout))
client.call({}, "work", key="before")
print("ready", flush=True)
sys.stdin.readline()
began = time.monotonic()
client.call({}, "work", key=key)
print(f"a timeout of {timeout} s:", "over" if time.monotonic() - began > 8 else "kept", flush=True)
END
python="$folder/venv/bin/python -W ignore"
mkfifo "$folder/s1" "$folder/s2" "$folder/c1" "$folder/c2"
for one in s1 s2; do
    $python "$folder/server.py" "$url" "$one" "$folder/ledger" <"$folder/$one" \
        >"$folder/$one.out" 2>"$folder/$one.err" &
    pids="$pids $!"
done
exec 4>"$folder/s1" 5>"$folder/s2"
$python "$folder/client.py" "$url" 3 short <"$folder/c1" >"$folder/c1.out" 2>"$folder/c1.err" &
short=$!
$python "$folder/client.py" "$url" 60 long <"$folder/c2" >"$folder/c2.out" 2>"$folder/c2.err" &
long=$!
exec 6>"$folder/c1" 7>"$folder/c2"
until [ "$(cat "$folder"/*.out | grep -c ready)" = 4 ]; do sleep 0.2; done
node 'rabbit_alarm:set_alarm({{resource_limit, disk, node()}, []})' >"$folder/erl"
sleep 1
echo >&6
echo >&7
sleep 12
node 'rabbit_alarm:clear_alarm({resource_limit, disk, node()})' >"$folder/erl"
wait "$short" "$long"
sleep 2
{
    grep -h timeout "$folder/c1.out" "$folder/c2.out"
    for key in short long; do
        times=$(grep -c "^$key by" "$folder/ledger")
        [ "$times" -gt 1 ] && echo "$key: more than once" || echo "$key: once"
    done
} >"$folder/said"
cat "$folder/said"
printf '%s\n' 'a timeout of 3 s: over' 'a timeout of 60 s: over' 'short: more than once' \
    'long: once' | diff - "$folder/said"
