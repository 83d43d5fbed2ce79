"""The format of messages and replies, and data that is not in it."""

import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.unixbus import wire
from launcher.unixbus.wire import Garbage, Message, Reply

TEXT = st.text(max_size=6)
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)


def nested(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return PLAIN | st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2)


JSON = nested(nested(PLAIN))  # st.recursive takes four times as long for the same kinds
OBJECTS = st.dictionaries(TEXT, JSON, max_size=2)


def envelope(**changes: object) -> bytes:
    fields: dict[str, object] = {
        "version": 1,
        "deadline": None,
        "monitor": None,
        "ctxt": {},
        "message": {},
    }
    return json.dumps(fields | changes).encode()


@given(OBJECTS, OBJECTS, st.none() | st.integers(0, 2**63), st.none() | st.floats(1, 1e6))
def test_a_message_arrives_as_it_was_sent(
    ctxt: dict[str, object],
    message: dict[str, object],
    deadline: int | None,
    monitor: float | None,
) -> None:
    sent = Message(ctxt, message, deadline, monitor)

    assert wire.decode_message(wire.encode_message(sent)) == sent


def test_what_json_lacks_is_sent_as_oslo_does_it() -> None:
    when = datetime.datetime(2026, 1, 2, 3, 4, 5)
    sent = Message({}, {"args": {"when": when, "raw": b"text"}})

    assert wire.decode_message(wire.encode_message(sent)).message == {
        "args": {"when": "2026-01-02T03:04:05.000000", "raw": "text"}
    }


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe\x00",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"version": ' + b"9" * 10_000 + b"}",
        envelope(version=2),
        envelope(version="1"),
        envelope(ctxt=[]),
        envelope(ctxt=None),
        envelope(message="method"),
        envelope(message=None),
        envelope(deadline="tomorrow"),
        envelope(deadline=1.5),
        envelope(monitor=[60]),
    ],
)
def test_garbage_is_called_garbage(data: bytes) -> None:
    with pytest.raises(Garbage):
        wire.decode_message(data)


@given(st.binary())
def test_any_bytes_are_a_message_or_garbage(data: bytes) -> None:
    with pytest.raises(Garbage):  # none of these is a message by chance
        wire.decode_message(data)


@given(st.sampled_from([wire.REPLY, wire.WORKING, wire.LOOK]), st.integers(0, 10**17), st.binary())
def test_a_reply_arrives_as_it_was_sent(kind: bytes, seq: int, body: bytes) -> None:
    assert wire.decode_reply(wire.encode_reply(kind, seq, body)) == Reply(kind, seq, body)


@pytest.mark.parametrize(
    "data",
    [b"", b"1 reply 1", b"2 reply 1\n", b"1 shout 1\n", b"1 reply -1\n", b"1 reply 1e3\n{}"],
)
def test_a_reply_without_a_head_is_garbage(data: bytes) -> None:
    with pytest.raises(Garbage):
        wire.decode_reply(data)


@given(JSON)
def test_a_result_arrives_as_it_was_returned(result: object) -> None:
    assert wire.decode_body(wire.encode_result(result)) == (result, None)


def test_a_failure_is_none_of_the_results() -> None:
    assert wire.decode_body(wire.encode_failure("{}")) == (None, "{}")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"failure": 1}', b'{"failure": {}}', b"\x80"])
def test_a_body_that_is_neither_is_garbage(body: bytes) -> None:
    with pytest.raises(Garbage):
        wire.decode_body(body)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_has_not_are_refused(number: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        wire.encode_result({"x": number})
    with pytest.raises(ValueError, match="JSON compliant"):
        wire.encode_message(Message({}, {"x": number}))
