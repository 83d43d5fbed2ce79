#!/bin/sh
# opentelemetry-sdk 1.45.2: the specification (Common Configuration Specification, Numeric) advises to
# warn of a number out of its range and to go on as if it were not set. Letters for a queue's size are
# so ignored. A size or an interval of -5 is not, nor are letters for a span's limits: ValueError, and
# a program whose environment has one does not start.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install opentelemetry-sdk==1.45.2
cat >"$folder/try.py" <<'TRY'
import logging
import os
import sys

from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

logging.disable()
try:
    TracerProvider().add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
    PeriodicExportingMetricReader(ConsoleMetricExporter())
    print(sys.argv[1], "starts", flush=True)
except ValueError:
    print(sys.argv[1], "raises ValueError", flush=True)
os._exit(0)
TRY
for setting in OTEL_BSP_MAX_QUEUE_SIZE=many OTEL_BSP_MAX_QUEUE_SIZE=-5 OTEL_METRIC_EXPORT_INTERVAL=often \
    OTEL_METRIC_EXPORT_INTERVAL=-5 OTEL_SPAN_EVENT_COUNT_LIMIT=many; do
    env "$setting" "$folder/venv/bin/python" -W ignore "$folder/try.py" "$setting"
done >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
OTEL_BSP_MAX_QUEUE_SIZE=many starts
OTEL_BSP_MAX_QUEUE_SIZE=-5 raises ValueError
OTEL_METRIC_EXPORT_INTERVAL=often starts
OTEL_METRIC_EXPORT_INTERVAL=-5 raises ValueError
OTEL_SPAN_EVENT_COUNT_LIMIT=many raises ValueError
SAID
