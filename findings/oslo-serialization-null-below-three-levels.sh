#!/bin/sh
# oslo.serialization 5.11.0, with which oslo.messaging writes the arguments and results of calls:
# of mappings that are no dict (collections.UserDict, types.MappingProxyType) what lies deeper than
# three levels is written as null, without an error. Plain dicts and UserList go down to any depth.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.serialization==5.11.0
cat >"$folder/try.py" <<'END'
from collections import UserDict, UserList
from types import MappingProxyType

from oslo_serialization import jsonutils

for make in (dict, UserDict, MappingProxyType):
    value = 7
    for _ in range(4):
        value = make({"x": value})
    print(make.__name__, jsonutils.dumps(value))
value = 7
for _ in range(4):
    value = UserList([value])
print("UserList", jsonutils.dumps(value))
END
"$folder/venv/bin/python" -W ignore "$folder/try.py" >"$folder/said"
cat >"$folder/expected" <<'END'
dict {"x": {"x": {"x": {"x": 7}}}}
UserDict {"x": {"x": {"x": null}}}
mappingproxy {"x": {"x": {"x": null}}}
UserList [[[[7]]]]
END
cat "$folder/said"
diff "$folder/expected" "$folder/said"
