#!/bin/sh
# prometheus-client 0.26.0, several processes: a gauge of mode `min` is, as documented, the lowest of
# all processes, ended ones too. A process has a value as soon as it has the gauge: 0, though nobody
# set it. So in a program that forks, whose master makes the gauge and whose workers set it, the
# minimum is the master's 0 for good, and every gauge of mode `min` reads 0. With labels it is not so:
# there the minimum is that of the processes that set it. `mostrecent` leaves out what was not set.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install prometheus-client==0.26.0
mkdir "$folder/values"
cat >"$folder/try.py" <<'TRY'
import os

from prometheus_client import CollectorRegistry, Gauge, generate_latest, multiprocess

plain = Gauge("plain", "", multiprocess_mode="min")
labelled = Gauge("labelled", "", ["of"], multiprocess_mode="min")
recent = Gauge("recent", "", multiprocess_mode="mostrecent")
for value in (7, 9):
    child = os.fork()
    if not child:
        plain.set(value)
        labelled.labels("worker").set(value)
        recent.set(value)
        os._exit(0)
    os.waitpid(child, 0)
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
for line in sorted(generate_latest(registry).decode().splitlines()):
    if not line.startswith("#"):
        print(line)
TRY
PROMETHEUS_MULTIPROC_DIR="$folder/values" "$folder/venv/bin/python" "$folder/try.py" >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
labelled{of="worker"} 7.0
plain 0.0
recent 9.0
SAID
