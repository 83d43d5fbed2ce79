#!/bin/sh
# oslo.messaging 18.3.1: its reference of options says of [oslo_messaging_tracing] otlp_protocol that
# http/protobuf, the default, is OTLP over HTTP. With the package that its own message names
# (tracing-http) installed, no span is ever sent: it imports the exporter's package, not the module in
# it, and uses that module as an attribute. Each call logs that tracing could not be set up. Where
# other code has imported the module before, or has set a provider, it works.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.messaging==18.3.1 \
    opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2
cat >"$folder/try.py" <<'TRY'
import logging
import sys

import oslo_messaging
from oslo_config import cfg

logging.disable()
if sys.argv[1] == "imported":
    import opentelemetry.exporter.otlp.proto.http.trace_exporter
cfg.CONF([], default_config_files=[], default_config_dirs=[])
cfg.CONF.set_override("tracing_enabled", True, group="oslo_messaging_tracing")
transport = oslo_messaging.get_rpc_transport(cfg.CONF, url="fake:")
target = oslo_messaging.Target(topic="try", server="here")
context = {}
oslo_messaging.get_rpc_client(transport, target).cast(context, "method")
from opentelemetry import trace

made = not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
print(sys.argv[1], "has" if made else "has no", "provider of spans")
TRY
for module in not-imported imported; do
    "$folder/venv/bin/python" -W ignore "$folder/try.py" "$module"
done >"$folder/said" 2>"$folder/errors" || cat "$folder/errors"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
not-imported has no provider of spans
imported has provider of spans
SAID
