"""Every result and error of a method can be sent to the client."""

import datetime
import enum
import sys
from typing import Any

import pytest
from oslo_messaging import expected_exceptions
from oslo_messaging._drivers.common import (
    deserialize_remote_exception,
    serialize_msg,
    serialize_remote_exception,
)
from oslo_messaging.rpc.dispatcher import ExpectedException
from oslo_serialization import jsonutils

from launcher.rpc_results import (
    CHARACTER_BYTES,
    HEAD_BYTES,
    NO_LIMITS,
    Limits,
    Unanswerable,
    check_answer,
    double_encoded,
    to_json,
    told,
)

SMALL = Limits(HEAD_BYTES + 2000)
LARGER = Limits(HEAD_BYTES + 2500)  # a traceback is longer on Python 3.14


class Colour(enum.Enum):
    RED = 1


class Hostile(Exception):
    """Raises from __str__ and __repr__."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Bottomless(list[Any]):
    def __repr__(self) -> str:
        raise RuntimeError("no text")


def loop() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(
    "answer",
    [None, True, 7, 1.5, "text", "\udcff", b"text", [1, {"a": (2, 3)}], datetime.date(2026, 1, 1)],
)
def test_what_can_be_sent_is_fine(answer: object) -> None:
    check_answer(answer, "get", SMALL)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"\xe4\xf6", r"UnicodeDecodeError.*: bytes b'\\xe4"),
        ({"a": [b"\xe4"]}, "dict {'a'"),
        (float("nan"), "float nan"),
        ([float("inf")], "list"),
        (datetime.timedelta(1), "datetime.timedelta"),
        (Colour.RED, "Colour"),
        (object(), "object"),
        (loop(), "Circular reference"),
        (Bottomless([object()]), "Bottomless"),
        ("x" * 3000, "str of 7098 bytes, and the bus takes 6096 at most"),
        ({1j: 2}, "complex|keys must be"),
    ],
)
def test_what_cannot_is_told_with_its_type_and_a_bounded_repr(answer: object, words: str) -> None:
    with pytest.raises(Unanswerable, match=f"(?s)^get returned .*({words})") as caught:
        check_answer(answer, "get", SMALL)
    assert len(str(caught.value)) < 1500


def latin_1() -> None:
    b"gr\xfcn".decode()


def hostile() -> None:
    raise Hostile("x")


def huge() -> None:
    raise ValueError("x" * 100_000)


def huge_cause() -> None:
    try:
        huge()
    except ValueError as error:
        raise KeyError("small") from error


def not_a_number() -> None:
    raise ValueError(float("nan"))


def foreign() -> None:
    raise ValueError(object())


def exiting() -> None:
    sys.exit(b"\xff")  # type: ignore[arg-type]


def interrupted() -> None:
    raise KeyboardInterrupt(Hostile())


def plain() -> None:
    raise LookupError("it is not there", 7)


expected = expected_exceptions(UnicodeDecodeError)(latin_1)


@pytest.mark.parametrize(
    ("function", "name", "words"),
    [
        (latin_1, "UnicodeDecodeError", "can't decode byte 0xfc"),
        (hostile, "Hostile", "x"),
        (huge, "ValueError", "characters)"),
        (huge_cause, "KeyError", "small"),
        (not_a_number, "ValueError", "nan"),
        (foreign, "ValueError", "object object"),
        (exiting, "RuntimeError", r"call called sys.exit(b'\xff')"),
        (interrupted, "RuntimeError", "call raised"),
        (plain, "LookupError", "it is not there"),
        (expected, "UnicodeDecodeError", "can't decode byte 0xfc"),
    ],
)
def test_a_failure_is_told_by_its_name_whatever_it_holds(
    function: Any, name: str, words: str
) -> None:
    try:
        function()
    except BaseException as error:  # noqa: BLE001  # all kinds are the point
        found = told(error, "call", LARGER)
    if isinstance(found, ExpectedException):
        found = found.exc_info[1]

    text = serialize_remote_exception((type(found), found, found.__traceback__))
    assert not LARGER.refuse(text)
    told_of = jsonutils.loads(text)
    assert told_of["class"] == name
    assert words in told_of["message"]
    assert function.__name__ in "".join(told_of["tb"]) or function is expected
    deserialize_remote_exception(text, ["builtins", "exceptions"])


def test_a_failure_that_can_be_sent_is_sent_as_it_is() -> None:
    error = ValueError("x", 1)

    assert told(error, "call", NO_LIMITS) is error


@pytest.mark.parametrize("answer", ["x" * 100, '"' * 100, "\\" * 100, {"ä": ['"', "\n"]}])
def test_the_size_of_what_is_sent_to_amqp_is_known(answer: object) -> None:
    """The driver writes JSON as a string inside JSON."""
    inner = jsonutils.dumps({"result": answer})
    outer = jsonutils.dumps(serialize_msg({"result": answer}))

    assert len(outer) - double_encoded(inner) < HEAD_BYTES
    assert double_encoded(inner) <= len(outer)


@pytest.mark.parametrize("character", ["x", '"', "\\", "\n", "\0", "ä", "\udcff", "\U0001f600"])
def test_a_short_text_is_sent_without_a_look_at_its_size(character: str) -> None:
    text = to_json(character * 100)

    assert max(len(text), double_encoded(text)) < 100 * CHARACTER_BYTES
