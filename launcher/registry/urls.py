"""Parses the URLs of databases."""

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from launcher.config.masking import mask_url
from launcher.errors import DatabaseUnusable


def parse(text: str) -> URL:
    """The parts of a URL. :raises DatabaseUnusable: it is no URL."""
    try:
        return make_url(text)
    except (ArgumentError, ValueError) as error:  # ValueError: the port is no number
        raise DatabaseUnusable(
            url=repr(mask_url(text)),
            reason="this is no database URL; one looks like sqlite:////var/lib/launcher/db.sqlite "
            "or postgresql://user:password@host:5432/name, with @ : / in a password written as "
            "%40 %3A %2F",
        ) from error
