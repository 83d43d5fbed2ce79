#!/bin/sh
# oslo.utils 10.2.0: timeutils.marshall_now() makes of a time what a call can carry, and is documented
# to keep its zone; unmarshall_time() reads it. A time with an offset, as datetime.fromisoformat()
# gives it, is written in a way that unmarshall_time() cannot read: it raises ZoneInfoNotFoundError. A
# zone with rules, such as Asia/Tokyo, is stripped. With UTC it works.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.utils==10.2.0
cat >"$folder/try.py" <<'TRY'
from datetime import datetime
from zoneinfo import ZoneInfo

from oslo_utils import timeutils

for time in (
    datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("UTC")),
    datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Asia/Tokyo")),
    datetime.fromisoformat("2026-07-01T12:00:00+09:00"),
):
    written = timeutils.marshall_now(time)
    try:
        read = timeutils.unmarshall_time(written).isoformat()
    except Exception as error:
        read = type(error).__name__
    print(time.isoformat(), "with", type(time.tzinfo).__name__, "->", written["tzname"], "->", read)
TRY
"$folder/venv/bin/python" -W ignore "$folder/try.py" >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
2026-07-01T12:00:00+00:00 with ZoneInfo -> UTC -> 2026-07-01T12:00:00+00:00
2026-07-01T12:00:00+09:00 with ZoneInfo -> None -> 2026-07-01T12:00:00
2026-07-01T12:00:00+09:00 with timezone -> UTC+09:00 -> ZoneInfoNotFoundError
SAID
