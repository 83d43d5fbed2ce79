#!/bin/sh
# oslo.messaging 18.3.1: its functions take the ConfigOpts that they are to use, but an object of
# one's own does not do. The transport is made with it, and the client; then each call raises
# NoSuchOptError, since the options of tracing are registered on the global cfg.CONF alone. With
# cfg.CONF the same call gets as far as its timeout: no server is there.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.messaging==18.3.1
cat >"$folder/try.py" <<'END'
import oslo_messaging
from oslo_config import cfg

for name, conf in (("of one's own", cfg.ConfigOpts()), ("global", cfg.CONF)):
    conf([], project="try")
    transport = oslo_messaging.get_rpc_transport(conf, url="fake:///")
    target = oslo_messaging.Target(topic="try")
    client = oslo_messaging.get_rpc_client(transport, target, timeout=1)
    try:
        client.call({}, "work")
    except Exception as error:
        print(name, "->", type(error).__name__)
END
"$folder/venv/bin/python" -W ignore "$folder/try.py" >"$folder/said" 2>"$folder/err" || cat "$folder/err"
cat "$folder/said"
printf "of one's own -> NoSuchOptError\nglobal -> MessagingTimeout\n" | diff - "$folder/said"
