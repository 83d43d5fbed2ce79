#!/bin/sh
# oslo.messaging 18.3.1: what a server method raised is made anew in the client by calling its class
# with its arguments and one text more. An ExceptionGroup (asyncio.TaskGroup raises them) cannot be
# made so: the client gets a ValueError of its own, out of the driver, and learns neither kind nor
# text of what failed. A ValueError of the server's comes through as what it is.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.messaging==18.3.1
cat >"$folder/try.py" <<'END'
import sys

from oslo_messaging._drivers import common

for failure in (ValueError("no such disk"), ExceptionGroup("two", [OSError("a"), OSError("b")])):
    try:
        raise failure
    except Exception:
        sent = common.serialize_remote_exception(sys.exc_info())
    try:
        got = common.deserialize_remote_exception(sent, ["builtins"])
        print(type(failure).__name__, "->", type(got).__name__)
    except Exception as error:
        print(type(failure).__name__, "raises", type(error).__name__)
END
"$folder/venv/bin/python" -W ignore "$folder/try.py" >"$folder/said" 2>"$folder/err" || cat "$folder/err"
cat "$folder/said"
printf 'ValueError -> ValueError\nExceptionGroup raises ValueError\n' | diff - "$folder/said"
