"""URLs of databases: taken apart, and shown to people without what is secret in them."""

import re

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from launcher.errors import DatabaseUnusable

_SECRET_IN_QUERY = re.compile(r"([?&][^=&]*(?:pass|pwd|secret|token)[^=&]*=)[^&]*", re.IGNORECASE)


def parse(text: str) -> URL:
    """The parts of a URL; raises DatabaseUnusable when it is none."""
    try:
        return make_url(text)
    except (ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        raise DatabaseUnusable(
            url=repr(shown(text)),
            reason="this is no database URL; one looks like sqlite:////var/lib/launcher/db.sqlite "
            "or postgresql://user:password@host:5432/name, with @ : / in a password written as "
            "%40 %3A %2F",
        ) from error


def shown(text: str) -> str:
    """The URL with passwords masked. Works on what cannot be parsed too, and takes everything up
    to the last @ for credentials, since passwords with an unescaped @ are common."""
    scheme, separator, rest = _SECRET_IN_QUERY.sub(r"\1***", text).partition("://")
    credentials, at, place = rest.rpartition("@")
    user, colon, _password = credentials.partition(":")
    if not separator:
        return "***" if "@" in text else text
    return f"{scheme}://{user}:***@{place}" if at and colon else f"{scheme}://{rest}"
