"""Passwords in URLs, kept from whoever reads logs, messages and `config show`."""

import re

_SECRET_IN_QUERY = re.compile(
    r"([?&][^=&\s]*(?:pass|pwd|secret|token)[^=&\s]*=)[^&\s]*", re.IGNORECASE
)
_PORT_THAT_IS_NONE = re.compile(r"(://[^:/@\s\[\]]*):(?!\d*(?:[/,?\s]|$))[^/\s]*")
_PART = r"[^:@/,\s]"
_HOST = rf"(?:{_PART}+|\[[^\]]*\])(?::\d*)?"
_CREDENTIALS = re.compile(
    rf"{_PART}*(?::{_PART}*)?|(?:{_PART}+:{_PART}*@{_HOST},)+{_PART}+:{_PART}*"
)


def mask_url(url: str) -> str:
    """A URL, or a text with one in it, as it may be shown: without passwords. Where a URL is
    malformed, everything up to the last @ may be a password, and more is hidden than need be. What
    no one can tell from another host, as in `u:pass@word,x:y@host`, is taken for one."""
    text = _SECRET_IN_QUERY.sub(r"\1***", url)
    scheme, separator, rest = text.rpartition("@")[0].partition("://")
    place = text.rpartition("@")[2]
    if "@" not in text:
        return _PORT_THAT_IS_NONE.sub(r"\1:***", text)
    if not separator:
        return f"***@{place}"
    if rest.startswith("/") and "://" not in rest:  # a path, as in sqlite:////var/a@b
        return text
    return f"{scheme}://{_mask_credentials(rest)}@{place}"


def _mask_credentials(text: str) -> str:
    """`user:password`, or `user:password@host:port,user:password` for several hosts."""
    if not _CREDENTIALS.fullmatch(text):
        user, colon, _ = text.partition(":")
        return f"{user}:***" if colon else "***"
    return re.sub(r"((?:^|,)[^:@]*):[^@]*(?=@|$)", r"\1:***", text)
