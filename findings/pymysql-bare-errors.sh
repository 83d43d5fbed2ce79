#!/bin/sh
# PyMySQL 1.2.4 is a client by PEP 249, by which one `except` for Error catches every error of a
# client. A wrong setting of a connection comes as something else: a file of authorities that is
# missing as FileNotFoundError (without the file's name), a character set that there is none of as
# AttributeError, and so does ssl=true. SQLAlchemy 2.1.9 hands them on as they are, no DBAPIError: an
# operator's slip in a database URL looks like a bug of the program. A server that is away is an
# OperationalError.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install PyMySQL==1.2.4 SQLAlchemy==2.1.9
cat >"$folder/try.py" <<'TRY'
import socket

import sqlalchemy

with socket.socket() as reserved:  # bound, and nobody listens: connections are refused
    reserved.bind(("127.0.0.1", 0))
    url = f"mysql+pymysql://user:word@127.0.0.1:{reserved.getsockname()[1]}/try"
    for query in ("", "?ssl_ca=/nowhere/ca.pem", "?charset=utf9", "?ssl=true"):
        try:
            sqlalchemy.create_engine(url + query).connect()
        except Exception as error:
            whole = isinstance(error, sqlalchemy.exc.DBAPIError)
            named = "/nowhere" in str(error)
            print(query, type(error).__name__, f"DBAPIError: {whole}, the file is named: {named}")
TRY
"$folder/venv/bin/python" -W ignore "$folder/try.py" >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
 OperationalError DBAPIError: True, the file is named: False
?ssl_ca=/nowhere/ca.pem FileNotFoundError DBAPIError: False, the file is named: False
?charset=utf9 AttributeError DBAPIError: False, the file is named: False
?ssl=true AttributeError DBAPIError: False, the file is named: False
SAID
