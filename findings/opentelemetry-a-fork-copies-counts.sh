#!/bin/sh
# opentelemetry-sdk 1.45.2 makes itself new in a forked child: another service.instance.id, as its
# documentation promises for a new process number, and queues of spans empty. Counters and histograms
# are not: the child goes on from what its parent had counted, under its own id, and with the parent's
# start time. So what a master counts before it forks is counted once more for each worker: 5 calls in
# the master and 1 in each of two workers are 17 in the sum over the instances, not 7.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install opentelemetry-sdk==1.45.2
cat >"$folder/try.py" <<'TRY'
import os
import sys

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

reader = InMemoryMetricReader()
calls = MeterProvider([reader]).get_meter("try").create_counter("calls")


def report(process):
    resource = reader.get_metrics_data().resource_metrics[0]
    point = resource.scope_metrics[0].metrics[0].data.data_points[0]
    instance = resource.resource.attributes["service.instance.id"]
    with open(sys.argv[1], "a") as file:
        file.write(f"{instance} {point.start_time_unix_nano} {point.value}\n")
    print(f"{process} reports {point.value}", flush=True)


calls.add(5)
for number in (1, 2):
    child = os.fork()
    if not child:
        calls.add(1)
        report(f"worker {number}")
        os._exit(0)
    os.waitpid(child, 0)
report("master")
with open(sys.argv[1]) as file:
    instances, starts, values = zip(*(line.split() for line in file))
print(f"{len(set(instances))} instances, {len(set(starts))} start, sum {sum(map(int, values))}")
TRY
"$folder/venv/bin/python" -W ignore "$folder/try.py" "$folder/reports" >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
worker 1 reports 6
worker 2 reports 6
master reports 5
3 instances, 1 start, sum 17
SAID
