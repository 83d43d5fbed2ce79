"""Parses the URLs of databases, as operators write them."""

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from launcher.config.masking import mask_url
from launcher.errors import DatabaseUnusable

# The drivers of our extras: what a URL means that names none.
DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}


def parse(text: str) -> URL:
    """The parts of a URL, with a driver. :raises DatabaseUnusable: it is no URL."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:  # ValueError: the port is no number
        raise DatabaseUnusable(
            url=repr(mask_url(text)),
            reason="this is no database URL; one looks like sqlite:////var/lib/launcher/db.sqlite "
            "or postgresql://user:password@host:5432/name, with @ : / in a password written as "
            "%40 %3A %2F",
        ) from error
    if url.get_backend_name() == "postgres":
        reason = "the name of this database is postgresql; write postgresql:// for postgres://"
        raise DatabaseUnusable(url=mask_url(text), reason=reason)
    driver = DRIVERS.get(url.drivername)
    return url.set(drivername=f"{url.drivername}+{driver}") if driver else url
