#!/bin/sh
# taskflow 6.5.0: the documentation of its parallel engine lists `process` and `processes` among the
# strings for `executor`, with a ValueError for strings that are unknown, and
# concurrent.futures.ProcessPoolExecutor among the types. The strings cause that error, as unknown
# ones, and the type a TypeError. Threads are all that is left.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install taskflow==6.5.0
cat >"$folder/try.py" <<'TRY'
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from taskflow import engines, task
from taskflow.patterns import linear_flow


class One(task.Task):
    default_provides = "one"

    def execute(self):
        return 1


if __name__ == "__main__":
    pools = ThreadPoolExecutor(1), ProcessPoolExecutor(1)
    for executor in ("threads", "process", "processes", *pools):
        name = executor if isinstance(executor, str) else type(executor).__name__
        try:
            flow = linear_flow.Flow("flow").add(One("one"))
            print(name, engines.run(flow, engine="parallel", executor=executor))
        except (TypeError, ValueError) as error:
            print(name, "raises", type(error).__name__)
TRY
"$folder/venv/bin/python" -W ignore "$folder/try.py" >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
threads {'one': 1}
process raises ValueError
processes raises ValueError
ThreadPoolExecutor {'one': 1}
ProcessPoolExecutor raises TypeError
SAID
