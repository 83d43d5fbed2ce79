"""The bus directory that a transport URL names, and the file names of queues."""

import hashlib
from typing import Any
from urllib.parse import quote

from oslo_messaging import InvalidTransportURL

SUN_PATH_BYTES = 107  # unix(7): sun_path has 108, one of them the closing NUL
SOCKET_TAIL = "/peers/4194304-0123abcd.sock"  # the longest path of a socket below the directory
LONGEST_NAME = 160  # characters; NAME_MAX is 255, and a name gets suffixes


def directory_of(url: Any) -> str:
    """Return the absolute path in a `unix:///path` URL.

    :param url: an oslo_messaging.TransportURL.
    :raises InvalidTransportURL: it has none; the text says what to write instead.
    """
    path = "/" + (url.virtual_host or "").strip("/")
    problem = _problem_of(url, path)
    if problem:
        raise InvalidTransportURL(str(url), f"{url} is no address of a bus: {problem}")
    return path


def _problem_of(url: Any, path: str) -> str | None:
    if url.hosts:
        return (
            "it has a host, user or port part, and a bus is a directory of this host; give an "
            "absolute path after three slashes, unix:///run/name/bus"
        )
    if path == "/":
        return "it lacks an absolute path; write unix:///run/name/bus"
    if "\0" in path:
        return "its path contains a NUL"
    excess = len(path.encode("utf-8", "surrogateescape")) + len(SOCKET_TAIL) - SUN_PATH_BYTES
    if excess > 0:
        return (
            f"its path is {excess} bytes too long for the sockets below it, whose paths may "
            f"have {SUN_PATH_BYTES}"
        )
    return None


def queue_name(*parts: str) -> str:
    """Make a file name from (exchange, topic) or (exchange, topic, server).

    The parts may contain any text. Different parts give different names: a quoted part contains
    neither the ',' that joins parts nor the '=' that marks a hash.
    """
    name = ",".join(_quoted(part) for part in parts)
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()
    return f"{name[: LONGEST_NAME - 1 - len(digest)]}={digest}"


def _quoted(part: str) -> str:
    text = quote(part, safe="", errors="surrogatepass")
    return "%2E" + text[1:] if text.startswith(".") else text
