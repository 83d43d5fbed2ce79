#!/bin/sh
# oslo.messaging 18.3.1: cast() is documented to raise MessageDeliveryFailure when the transport does
# not take the message, and so is each method of Notifier. Neither raises it when the broker is away.
# cast() raises OperationalError of kombu, which is no MessagingException. info() raises nothing: it
# returns as if it had sent, and a caller that keeps what was not delivered never learns of it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.messaging==18.3.1 kombu==5.7.0
cat >"$folder/try.py" <<'TRY'
import logging
import socket

import oslo_messaging
from oslo_config import cfg

logging.disable()
cfg.CONF([], project="try")
with socket.socket() as reserved:  # bound, and nobody listens: connections are refused
    reserved.bind(("127.0.0.1", 0))
    url = f"rabbit://guest:guest@127.0.0.1:{reserved.getsockname()[1]}/"
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=url)
    client = oslo_messaging.get_rpc_client(transport, oslo_messaging.Target(topic="try"))
    client = client.prepare(retry=0)
    transport = oslo_messaging.get_notification_transport(cfg.CONF, url=url)
    notifier = oslo_messaging.Notifier(
        transport, "try.host", driver="messagingv2", topics=["try"], retry=0
    )
    for name, send in (
        ("cast()", lambda: client.cast({}, "work")),
        ("info()", lambda: notifier.info({}, "server.start", {})),
    ):
        try:
            send()
            print(name, "returns")
        except Exception as error:
            ours = isinstance(error, oslo_messaging.MessagingException)
            print(f"{name} raises {type(error).__name__}, a MessagingException: {ours}")
TRY
"$folder/venv/bin/python" -W ignore "$folder/try.py" >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
cast() raises OperationalError, a MessagingException: False
info() returns
SAID
