"""The format of messages and replies. Pure: no files, no sockets.

A message is a file with one JSON object, or a packet: a line `1 LENGTH PLACE NAME` and the JSON
object. PLACE is the queue, and NAME the name that the file would have. A reply is a line `1 KIND
SEQ` and a JSON object, in a datagram or, if it is large, in a file. Only the caller that waits for
SEQ parses the JSON.
"""

import json
import re
from typing import Any, NamedTuple

from launcher.rpc_results import to_json

VERSION = 1
REPLY = b"reply"  # the call is over
WORKING = b"working"  # the call is being executed: a sign of life for the call monitor
LOOK = b"look"  # a reply lies in the caller's directory

PACKET_BYTES = 4096  # PIPE_BUF on Linux; a larger message is a file

_PACKET = re.compile(rb"1 (\d{1,4}) (queues/[^\s/.][^\s/]{0,254}) ([\w.-]{1,100})\n")
_HEAD = re.compile(rb"1 (reply|working|look) (\d{1,18})\n")


class Garbage(ValueError):
    """A message or reply that is not in this format. The text says why."""


class Message(NamedTuple):
    """A message as it is sent.

    :ivar deadline: CLOCK_MONOTONIC, in ns: until then the caller waits. None: for ever.
    :ivar monitor: seconds that the caller waits for a sign of life; None: it wants none.
    """

    ctxt: dict[str, Any]
    message: dict[str, Any]
    deadline: int | None = None
    monitor: float | None = None


class Reply(NamedTuple):
    """A reply as it is received; `body` is JSON that is not parsed yet."""

    kind: bytes
    seq: int
    body: bytes


class Packet(NamedTuple):
    """A packet as it is received; `body` is a message that is not parsed yet."""

    place: str
    name: str
    body: bytes


def encode_packet(place: str, name: object, body: bytes) -> bytes:
    """Encode a message as a packet."""
    return f"1 {len(body)} {place} {name}\n".encode() + body


def decode_packet(data: bytes) -> Packet:
    """Parse the first line of a packet; what follows the packet is ignored.

    :raises Garbage: it is none.
    """
    head = _PACKET.match(data)
    if head is None:
        raise Garbage(f"it begins with {data[:40]!r}")
    body = data[head.end() : head.end() + int(head[1])]
    if len(body) != int(head[1]):
        raise Garbage(f"it has {len(body)} bytes instead of {int(head[1])}")
    return Packet(head[2].decode("ascii", "replace"), head[3].decode("ascii", "replace"), body)


def encode_message(message: Message) -> bytes:
    """Write a message as JSON.

    :raises ValueError, TypeError: a value cannot be written as JSON.
    """
    envelope = {
        "version": VERSION,
        "deadline": message.deadline,
        "monitor": message.monitor,
        "ctxt": message.ctxt,
        "message": message.message,
    }
    return to_json(envelope).encode()


def decode_message(data: bytes) -> Message:
    """Parse a message. :raises Garbage: it is none."""
    envelope = _object(data)
    if envelope.get("version") != VERSION:
        raise Garbage(f"version {envelope.get('version')!r:.40} instead of {VERSION}")
    message = Message(
        envelope.get("ctxt"),  # type: ignore[arg-type]  # checked below
        envelope.get("message"),  # type: ignore[arg-type]
        envelope.get("deadline"),
        envelope.get("monitor"),
    )
    for field, types in _TYPES.items():
        if not isinstance(getattr(message, field), types):
            raise Garbage(f"{field} is a {type(getattr(message, field)).__name__}")
    return message


_TYPES: dict[str, tuple[type, ...]] = {
    "ctxt": (dict,),
    "message": (dict,),
    "deadline": (int, type(None)),
    "monitor": (int, float, type(None)),
}


def encode_reply(kind: bytes, seq: int, body: bytes = b"") -> bytes:
    """Encode a reply as one datagram, or as a file."""
    return b"1 %s %d\n%s" % (kind, seq, body)


def decode_reply(data: bytes) -> Reply:
    """Parse the first line of a reply. :raises Garbage: it is none."""
    head = _HEAD.match(data)
    if head is None:
        raise Garbage(f"it begins with {data[:40]!r}")
    return Reply(head[1], int(head[2]), data[head.end() :])


def encode_result(result: Any) -> bytes:
    """Write the body of a reply. :raises ValueError, TypeError: see `encode_message`."""
    return to_json({"result": result}).encode()


def encode_failure(failure: str) -> bytes:
    """Write the body of a reply that is an error.

    :param failure: from serialize_remote_exception of oslo.messaging.
    """
    return to_json({"failure": failure}).encode()


def decode_body(body: bytes) -> tuple[Any, str | None]:
    """Parse (result, failure); one of them is None. :raises Garbage: the body is neither."""
    fields = _object(body)
    failure = fields.get("failure")
    if failure is not None and not isinstance(failure, str):
        raise Garbage(f"failure is a {type(failure).__name__}")
    return fields.get("result"), failure


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:  # no JSON or no text; nested too deeply
        raise Garbage(f"no JSON: {error}") from error
    if not isinstance(value, dict):
        raise Garbage(f"a JSON {type(value).__name__}, not an object")
    return value
