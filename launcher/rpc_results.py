"""Makes results and errors of methods sendable, so that the client always gets an answer at once.

oslo.messaging's drivers serialize an error by `serialize_remote_exception`.
"""

import json
import reprlib
import sys
from collections.abc import Callable
from types import AsyncGeneratorType, CoroutineType, GeneratorType, TracebackType
from typing import Any, NamedTuple, cast

from oslo_messaging._drivers.common import serialize_remote_exception
from oslo_messaging.rpc.dispatcher import ExpectedException
from oslo_serialization import jsonutils

from launcher.exception_text import reason

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]  # as sys.exc_info()
Size = Callable[[str], int]  # of a JSON text: its bytes on the bus

SHOWN_CHARACTERS = 500
_PROMISES = (CoroutineType, AsyncGeneratorType, GeneratorType)
HEAD_BYTES = 4096  # more than the bus adds to an answer
CHARACTER_BYTES = 16  # a character of a text takes fewer on any bus

# A JSON text of an answer. NaN and Infinity, which are no JSON, raise ValueError.
to_json = json.JSONEncoder(default=jsonutils.to_primitive, allow_nan=False).encode


class Unanswerable(Exception):
    """A result cannot be sent; the text says which and why."""


def refuse_promise(result: Any, name: str) -> None:
    """Raise TypeError if a method returned a coroutine or generator: it would never run. A
    decorator may have hidden an `async def`."""
    if isinstance(result, _PROMISES):
        if close := getattr(result, "close", None):
            close()  # otherwise Python warns of it later
        raise TypeError(f"{name} has not run: it returned a {type(result).__name__}")


class Limits(NamedTuple):
    """The largest message of a bus.

    :ivar most: bytes. :ivar size: the bytes of a JSON text on that bus.
    """

    most: int
    size: Size = len

    def refuse(self, text: str) -> str | None:
        """The complaint about a JSON text that is too large; empty if it fits."""
        length = self.size(text) + HEAD_BYTES
        return f"{length} bytes, and the bus takes {self.most} at most" * (length > self.most)


def check_answer(answer: object, name: str, limits: Limits) -> None:
    """Raise Unanswerable if a result is no JSON or is too large. oslo.messaging itself would write
    NaN and Infinity, which are no JSON.

    :param name: of the method.
    """
    if answer is None or isinstance(answer, bool | int):
        return
    if type(answer) is str and len(answer) * CHARACTER_BYTES + HEAD_BYTES < limits.most:
        return
    try:
        text = to_json(answer)
    except Exception as error:  # noqa: BLE001  # foreign classes may raise anything
        reason = f"{name} returned what cannot be sent ({_shown(error)})"
        raise Unanswerable(f"{reason}: {_kind(answer)} {_repr(answer)}") from None
    if excess := limits.refuse(text):
        raise Unanswerable(f"{name} returned a {_kind(answer)} of {excess}")


def sendable(error: BaseException, limits: Limits) -> BaseException:
    """The error itself, or a stand-in with its name and traceback if it cannot be sent: its
    arguments are no JSON, its __str__ raises, or it is too large."""
    try:
        text = serialize_remote_exception((type(error), error, error.__traceback__))
        json.dumps(json.loads(text), allow_nan=False)
    except Exception:  # noqa: BLE001  # foreign classes may raise anything
        return _stand_in(error)
    return _stand_in(error) if limits.refuse(text) else error


def _stand_in(error: BaseException) -> BaseException:
    """A new error, not chained to the original: the text of that one would be shown too."""
    kind = type(error)
    made: BaseException = type(kind.__name__, (Exception,), {"__module__": kind.__module__})(
        _text(error)
    )
    made.__suppress_context__ = True
    made.__traceback__ = error.__traceback__
    return made


def told(error: BaseException, name: str, limits: Limits) -> BaseException:
    """The error to send for an error of a method. One that is no Exception is wrapped:
    oslo.messaging would send no answer for it."""
    if isinstance(error, ExpectedException):
        inner = sendable(error.exc_info[1], limits)
        error.exc_info = (type(inner), inner, inner.__traceback__)
        return cast("BaseException", error)
    if isinstance(error, Exception) and not isinstance(error, BaseExceptionGroup):
        return sendable(error, limits)
    outer = RuntimeError(_name_of_base(error, name))
    outer.__cause__ = error
    return sendable(outer.with_traceback(error.__traceback__), limits)


def _name_of_base(error: BaseException, name: str) -> str:
    """The text for an error whose class no client could make again."""
    if isinstance(error, BaseExceptionGroup):
        return reason(error)
    if isinstance(error, SystemExit):
        return f"{name} called sys.exit({_repr(error.code)})"
    return f"{name} raised {_repr(error)}"


def failure_of(error: BaseException, limits: Limits) -> ExcInfo:
    """The error for a driver, after a first attempt to answer has failed."""
    found = sendable(error, limits)
    return type(found), found, found.__traceback__


NO_LIMITS = Limits(sys.maxsize)


def double_encoded(text: str) -> int:
    """The size of a JSON text inside another one, as oslo.messaging sends it by AMQP."""
    return len(text) + text.count('"') + text.count("\\")


def _shown(error: BaseException) -> str:
    return f"{type(error).__name__}: {_text(error)}"


def _text(error: BaseException) -> str:
    """The text of an error, or its arguments if __str__ raises. At most SHOWN_CHARACTERS."""
    try:
        text = str(error)
        text.encode()
    except Exception:  # noqa: BLE001  # foreign classes may raise anything
        text = _repr(getattr(error, "args", ()))
    if len(text) > SHOWN_CHARACTERS:
        text = f"{text[:SHOWN_CHARACTERS]}… ({len(text)} characters)"
    return text


def _kind(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def _repr(value: object) -> str:
    """A short repr of any object, even if its __repr__ raises."""
    short = reprlib.Repr()
    short.maxother = short.maxstring = SHOWN_CHARACTERS // 5
    try:
        return short.repr(value)[:SHOWN_CHARACTERS].encode("utf-8", "replace").decode()
    except Exception as error:  # noqa: BLE001  # foreign classes may raise anything
        return f"(its repr raises {type(error).__name__})"
