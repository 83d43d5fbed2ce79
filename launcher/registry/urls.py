"""URLs of databases, taken apart."""

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from launcher.errors import DatabaseUnusable
from launcher.masking import mask_url


def parse(text: str) -> URL:
    """The parts of a URL; raises DatabaseUnusable when it is none."""
    try:
        return make_url(text)
    except (ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        raise DatabaseUnusable(
            url=repr(mask_url(text)),
            reason="this is no database URL; one looks like sqlite:////var/lib/launcher/db.sqlite "
            "or postgresql://user:password@host:5432/name, with @ : / in a password written as "
            "%40 %3A %2F",
        ) from error
