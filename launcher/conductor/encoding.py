"""How arguments, records and errors of the registry cross the bus between a host and a conductor.

The interface of the registry says what crosses: each value is read by its type there. A reader
ignores fields that it does not know, and gives a field that is missing its default.

VERSION is that of the interface. A new method, argument or field needs a new minor version and a
default: a conductor goes on taking the calls of older hosts. tests/unit/test_conductor_versions.py
holds that.
"""

import types
import typing
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, get_args, get_origin

from launcher.errors import DatabaseUnavailable, DatabaseUnusable, LauncherError

TOPIC = "conductor"
VERSION = "1.0"
FIRST_VERSION = "1.0"  # in which a host asks for the conductor's version

# A client that does not know a subclass still has to know what it means.
_BASES = (DatabaseUnavailable, DatabaseUnusable)


class Unreadable(LauncherError):
    """{what} from the bus cannot be read: {reason}"""


def encode(value: Any) -> Any:
    """A value as JSON takes it. Times are ISO 8601, records are objects."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, StrEnum):
        return str(value)
    if _is_record(type(value)):
        return {name: encode(item) for name, item in value._asdict().items()}
    return [encode(item) for item in value] if isinstance(value, list | tuple) else value


def decode(hint: Any, found: Any, what: str) -> Any:
    """The value of a type in a message.

    :param what: for the message. :raises Unreadable: the value has another type.
    """
    try:
        return _read(hint, found)
    except (TypeError, ValueError) as error:
        raise Unreadable(what=what, reason=error) from error


@cache
def hints(of: Callable[..., Any]) -> Mapping[str, Any]:
    """The types of a method's arguments and of its result, "return", or of a record's fields."""
    return typing.get_type_hints(of)


def sendable(error: LauncherError) -> LauncherError:
    """The error that crosses the bus for one of the store."""
    base = next((base for base in _BASES if isinstance(error, base)), type(error))
    return base.said(str(error))


def received(name: str, sentence: str) -> LauncherError | None:
    """Our error for the name and text of a conductor's; None: this version has no such error."""
    kind = next((kind for kind in _kinds(LauncherError) if kind.__name__ == name), None)
    return kind.said(sentence) if kind else None


def _kinds(kind: type[LauncherError]) -> Iterator[type[LauncherError]]:
    for below in kind.__subclasses__():
        yield below
        yield from _kinds(below)


def _read(hint: Any, found: Any) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin is types.UnionType:
        (hint,) = (one for one in args if one is not types.NoneType)
        return None if found is None else _read(hint, found)
    if origin is list:
        return [_read(args[0], item) for item in _require(list, found)]
    if origin is tuple:
        pairs = zip(args, _require(list, found), strict=True)
        return tuple(_read(one, item) for one, item in pairs)
    return _read_single(origin or hint, found)


def _read_single(kind: type, found: Any) -> Any:
    if _is_record(kind):
        fields = {name: one for name, one in hints(kind).items() if name in _require(dict, found)}
        return kind(**{name: _read(one, found[name]) for name, one in fields.items()})
    if kind is datetime:
        return datetime.fromisoformat(_require(str, found))
    if issubclass(kind, StrEnum):
        return kind(_require(str, found))
    return _require((int, float) if kind is float else kind, found)


def _require(kind: Any, found: Any) -> Any:
    if not isinstance(found, kind):
        raise TypeError(f"{found!r:.60} is not of type {getattr(kind, '__name__', kind)}")
    return found


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")
