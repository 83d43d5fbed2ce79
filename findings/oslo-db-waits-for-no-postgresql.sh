#!/bin/sh
# oslo.db 18.1.1 waits for a database server at the start: [database] max_retries is, as documented,
# the limit of these attempts. With MariaDB's driver it does. With PostgreSQL's it gives up at the
# first attempt, and raises no DBConnectionError but SQLAlchemy's OperationalError: it knows a server
# that is away by a text that the client libraries of today do not say. So it is with psycopg 3.3.9
# and with psycopg2 2.9.13. A service that comes up before its PostgreSQL fails; with MariaDB it
# waits.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install \
    oslo.db==18.1.1 SQLAlchemy==2.1.9 PyMySQL==1.2.4 'psycopg[binary]==3.3.9' psycopg2-binary==2.9.13
cat >"$folder/try.py" <<'TRY'
import logging
import socket

from oslo_db.sqlalchemy import engines

attempts = 0


def count(record):
    global attempts
    attempts += record.levelno == logging.WARNING
    return False


logging.getLogger("oslo_db.sqlalchemy.engines").addFilter(count)
with socket.socket() as reserved:  # bound, and nobody listens: connections are refused
    reserved.bind(("127.0.0.1", 0))
    port = reserved.getsockname()[1]
    for driver in ("mysql+pymysql", "postgresql+psycopg", "postgresql+psycopg2"):
        attempts = 0
        url = f"{driver}://user:word@127.0.0.1:{port}/try"
        try:
            engines.create_engine(url, max_retries=2, retry_interval=1)
        except Exception as error:
            print(f"{driver}: {attempts} retries, {type(error).__name__}")
TRY
"$folder/venv/bin/python" -W ignore "$folder/try.py" >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
mysql+pymysql: 2 retries, DBConnectionError
postgresql+psycopg: 0 retries, OperationalError
postgresql+psycopg2: 0 retries, OperationalError
SAID
