#!/bin/sh
# oslo.context 6.5.0: to_dict(), documented to give a context's attributes, and from_dict(),
# documented to make a context of them, are how a context crosses oslo.messaging's bus. from_dict()
# reads user_name, project_name and the names of the domains; to_dict() never writes them, nor the
# attributes of a service that calls for a user. get_logging_values() has the names. So the server of
# a call has None for each, and a log format with %(user_name)s has it on one side only.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.context==6.5.0
cat >"$folder/try.py" <<'TRY'
from oslo_context.context import RequestContext

names = [
    "user_id",
    "project_id",
    "user_name",
    "project_name",
    "user_domain_name",
    "project_domain_name",
    "service_user_id",
]
context = RequestContext(**{name: "set" for name in names})
logged = context.get_logging_values()
copy = RequestContext.from_dict(context.to_dict())
for name in names:
    print(f"{name}: logged {logged.get(name)}, crossed {getattr(copy, name)}")
TRY
"$folder/venv/bin/python" -W ignore "$folder/try.py" >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
user_id: logged None, crossed set
project_id: logged set, crossed set
user_name: logged set, crossed None
project_name: logged set, crossed None
user_domain_name: logged set, crossed None
project_domain_name: logged set, crossed None
service_user_id: logged None, crossed None
SAID
