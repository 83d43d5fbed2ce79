"""Masks passwords in URLs and texts, for logs, messages and `config show`."""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from urllib.parse import quote, quote_plus

from oslo_config import cfg

MASK = "***"
Span = tuple[int, int]  # of a text: begin and end
_SECRET_IN_QUERY = re.compile(
    r"([?&][^=&\s]*(?:pass|pwd|secret|token)[^=&\s]*=)[^&\s]*", re.IGNORECASE
)
_PORT_THAT_IS_NONE = re.compile(r"(://[^:/@\s\[\]]*):(?!\d*(?:[/,?\s]|$))[^/\s]*")
_PART = r"[^:@/,\s]"
_HOST = rf"(?:{_PART}+|\[[^\]]*\])(?::\d*)?"
_CREDENTIALS = re.compile(
    rf"{_PART}*(?::{_PART}*)?|(?:{_PART}+:{_PART}*@{_HOST},)+{_PART}+:{_PART}*"
)


def shown_database(conf: cfg.ConfigOpts) -> str:
    """Where the registry is, without secrets."""
    return (
        "through a conductor"
        if conf.database.use_conductor
        else mask_url(conf.database.connection)
    )


def mask_url(url: str) -> str:
    """A URL, or a text with a URL in it, without passwords. In a malformed URL everything up to
    the last @ may be a password, so that more is hidden than need be. In `u:pass@word,x:y@host` a
    part of the password looks like another host, and is shown."""
    text = _SECRET_IN_QUERY.sub(r"\1***", url)
    scheme, separator, rest = text.rpartition("@")[0].partition("://")
    place = text.rpartition("@")[2]
    if "@" not in text:
        return _PORT_THAT_IS_NONE.sub(r"\1:***", text)
    if not separator:
        return f"***@{place}"
    if rest.startswith("/") and "://" not in rest:  # a path, such as sqlite:////var/a@b
        return text
    return f"{scheme}://{_mask_credentials(rest)}@{place}"


def _mask_credentials(text: str) -> str:
    """Mask `user:password`, or `user:password@host:port,user:password` for several hosts."""
    if not _CREDENTIALS.fullmatch(text):
        user, colon, _ = text.partition(":")
        return f"{user}:***" if colon else "***"
    return re.sub(r"((?:^|,)[^:@]*):[^@]*(?=@|$)", r"\1:***", text)


def mask_password(text: str, password: str | None, names: Iterable[str | None] = ()) -> str:
    """A text, such as a database driver's error, without the password in plain or URL form.

    :param names: texts that are no secret, such as the user's name. A password that is a part of
        such a text stays where that text stands.
    """
    if not password:
        return text
    forms = {password, quote(password, safe=""), quote_plus(password)}
    found, public = list(_spans(text, forms)), list(_spans(text, filter(None, names)))
    while True:
        secret = [one for one in found if not any(_holds(name, one) for name in public)]
        whole = [name for name in public if not any(_meet(name, one) for one in secret)]
        if whole == public:
            break
        public = whole  # a partly masked name no longer shows the password
    merged = list(_merge(secret))
    borders = [(0, 0), *merged, (len(text), len(text))]
    return MASK.join(text[end:begin] for (_, end), (begin, _) in pairwise(borders))


def _holds(outer: Span, inner: Span) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def _meet(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _spans(text: str, words: Iterable[str]) -> Iterator[Span]:
    """Where the words stand, including overlaps."""
    for word in words:
        place = text.find(word)
        while place >= 0:
            yield place, place + len(word)
            place = text.find(word, place + 1)


def _merge(spans: Iterable[Span]) -> Iterator[Span]:
    """The spans in order; overlapping ones are joined."""
    begin = end = -1
    for first, last in sorted(spans):
        if first <= end:
            end = max(end, last)
            continue
        if end > 0:
            yield begin, end
        begin, end = first, last
    if end > 0:
        yield begin, end
