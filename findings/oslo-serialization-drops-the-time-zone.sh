#!/bin/sh
# oslo.serialization 5.11.0, with which oslo.messaging writes the arguments and results of calls:
# a datetime with a time zone is written as its local digits, without the zone. Noon in Tokyo and
# noon in London are the same text, and the reader takes both for UTC.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.serialization==5.11.0
cat >"$folder/try.py" <<'END'
from datetime import UTC, datetime, timedelta, timezone

from oslo_serialization import jsonutils

for zone in (UTC, timezone(timedelta(hours=9))):
    time = datetime(2026, 7, 1, 12, tzinfo=zone)
    print(time.isoformat(), "is written as", jsonutils.dumps(time))
END
"$folder/venv/bin/python" -W ignore "$folder/try.py" >"$folder/said"
cat >"$folder/expected" <<'END'
2026-07-01T12:00:00+00:00 is written as "2026-07-01T12:00:00.000000"
2026-07-01T12:00:00+09:00 is written as "2026-07-01T12:00:00.000000"
END
cat "$folder/said"
diff "$folder/expected" "$folder/said"
