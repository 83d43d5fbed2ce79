#!/bin/sh
# oslo.messaging 18.3.1 with stevedore 5.10.0: the notification driver `routing`, an offered value of
# [oslo_messaging_notifications] driver, sends nothing, whatever its routing_config says. It makes the
# drivers that the file names without the arguments that each of them needs, so that none is loaded.
# info() returns as if all were well; the reason stands in the log only. The driver `log` alone sends
# the same notification.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.messaging==18.3.1 stevedore==5.10.0
printf 'all:\n  log:\n    accepted_events: ["*"]\n' >"$folder/routing.yaml"
cat >"$folder/try.py" <<'TRY'
import logging
import sys

import oslo_messaging
from oslo_config import cfg
from oslo_messaging.notify import _impl_routing  # noqa: F401  registers routing_config

sent = []


class Sent(logging.Handler):
    def emit(self, record):
        sent.append(record)


logging.getLogger("oslo.messaging.notification").addHandler(Sent())
logging.getLogger("oslo.messaging.notification").setLevel(logging.INFO)
logging.getLogger("oslo_messaging").setLevel(logging.CRITICAL)
logging.getLogger("stevedore").setLevel(logging.CRITICAL)
cfg.CONF([], project="try")
cfg.CONF.set_override("routing_config", sys.argv[1], group="oslo_messaging_notifications")
transport = oslo_messaging.get_notification_transport(cfg.CONF, url="fake://")
for driver in ("log", "routing"):
    sent.clear()
    notifier = oslo_messaging.Notifier(transport, "try.host", driver=driver, topics=["try"])
    notifier.info({}, "server.start", {})
    print(driver, "sends", len(sent))
TRY
"$folder/venv/bin/python" -W ignore "$folder/try.py" "$folder/routing.yaml" >"$folder/said"
cat "$folder/said"
printf 'log sends 1\nrouting sends 0\n' | diff - "$folder/said"
