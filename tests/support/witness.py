"""Looks at a service each second: what it says of itself, and what a real client gets.

Nothing of the service's own code asks it: plain HTTP on its control socket, calls by
oslo.messaging, and what it has told its notify socket.
"""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import oslo_messaging

from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher
from tests.support.transports import configuration
from tests.support.truth import NOTHING, Sight
from tests.support.waiting import wait_until

LOOK_SECONDS = 1.0
CALL_SECONDS = 3.0  # in which a call has to be answered
ASK_SECONDS = 3.0  # and a question on the control socket
STUCK_SECONDS = 2 * CALL_SECONDS
SETTLE_SECONDS = 60.0
EXCHANGE = "launcher"


class _Look(NamedTuple):
    at: float
    told: str
    health: "Future[str]"
    status: "Future[dict[str, Any]]"
    main: "Future[bool]"
    own: "dict[int, Future[bool]]"


class Witness:
    """A thread of its own; see `witnessing`."""

    def __init__(
        self, service: Launcher, notify: NotifySocket, url: str, host: str, slots: Sequence[int]
    ) -> None:
        self._control = service.runtime_path / "control.sock"
        self._notify = notify
        self._conf = configuration(
            url, service.config_file, _without_heartbeats(service.directory)
        )
        self._host, self._slots = host, slots
        self._transport: Any = None
        self._given_up: list[tuple[Any, list[Future[Any]]]] = []  # transports, and their calls
        self._under_way: dict[object, list[tuple[float, Future[Any]]]] = {}
        self._looks: list[_Look] = []
        self._over = threading.Event()
        self._connect()

    def _connect(self) -> None:
        """As a client that was just started."""
        self._transport = oslo_messaging.get_rpc_transport(self._conf)
        self._clients = {None: self._client("compute", self._host)} | {
            slot: self._client("compute-alt", f"{self._host}.{slot}") for slot in self._slots
        }

    def run(self) -> None:
        """A look each second until `end`."""
        due = time.monotonic()
        while not self._over.is_set():
            self._give_up_stuck_clients()
            self._looks.append(self._look())
            due = max(due + LOOK_SECONDS, time.monotonic())
            self._over.wait(due - time.monotonic())

    def end(self) -> None:
        """No more looks."""
        self._over.set()

    def close(self) -> None:
        """What is still under way is of no interest any more."""
        _close(self._transport).join(ASK_SECONDS)

    def sights(self) -> list[Sight]:
        """Up to the first that is not over yet, by time."""
        return [_sight(look) for look in takewhile(_is_over, list(self._looks))]

    def all_answered_since(self, at: float) -> bool:
        """Whether everybody has answered one of the calls begun since then."""
        last = [_sight(look) for look in self._looks[-10:] if look.at >= at and _is_over(look)]
        return any(sight.all_answer for sight in last)

    def _look(self) -> _Look:
        return _Look(
            time.monotonic(),
            last_status(self._notify),
            self._begin("health", self._ask_health),
            self._begin("status", self._ask_status),
            self._begin(None, partial(self._call, self._clients[None], None)),
            {
                slot: self._begin(slot, partial(self._call, client, slot))
                for slot, client in self._clients.items()
                if slot is not None
            },
        )

    def _begin(self, target: object, ask: Callable[[], Any]) -> "Future[Any]":
        future: Future[Any] = Future()
        threading.Thread(target=lambda: future.set_result(ask()), daemon=True).start()
        under_way = [one for one in self._under_way.get(target, []) if not one[1].done()]
        self._under_way[target] = [*under_way, (time.monotonic(), future)]
        return future

    def _give_up_stuck_clients(self) -> None:
        """The RabbitMQ driver does not keep the timeout of a call that its broker has blocked, and
        may do nothing for a minute when that is over: another client is to tell."""
        latest = time.monotonic() - STUCK_SECONDS
        calls = [one for target in self._clients for one in self._under_way.get(target, [])]
        if any(began < latest and not future.done() for began, future in calls):
            for target in self._clients:
                self._under_way.pop(target, None)
            self._given_up.append((self._transport, [future for _, future in calls]))
            self._connect()
        self._close_given_up()

    def _close_given_up(self) -> None:
        """Once the last call that was stuck has given its connection back."""
        over = [one for one in self._given_up if all(call.done() for call in one[1])]
        self._given_up = [one for one in self._given_up if one not in over]
        for transport, _ in over:
            _close(transport)

    def _client(self, topic: str, server: str) -> Any:
        target = oslo_messaging.Target(topic=topic, server=server, exchange=EXCHANGE)
        client = oslo_messaging.get_rpc_client(self._transport, target, timeout=CALL_SECONDS)
        return client.prepare(namespace="baseapi")

    def _call(self, client: Any, slot: int | None) -> bool:
        began = time.monotonic()
        try:
            answer = client.call({}, "ping", arg=began)
        except Exception:  # noqa: BLE001  # whatever it is, the client got no answer
            return False
        in_time = time.monotonic() - began <= CALL_SECONDS
        return in_time and answer["arg"] == began and slot in {None, answer["slot"]}

    def _ask_health(self) -> str:
        return str(ask(self._control, "/health").get("status", NOTHING))

    def _ask_status(self) -> dict[str, Any]:
        return ask(self._control, "/status")


def _without_heartbeats(directory: Path) -> Path:
    """Each connection would have a thread for them, and each call that is stuck has a connection:
    in an hour of alarms, hundreds that keep the service from running."""
    file = directory / "witness.conf"
    file.write_text("[oslo_messaging_rabbit]\nheartbeat_timeout_threshold = 0\n")
    return file


def _close(transport: Any) -> threading.Thread:
    """In a thread: the broker may not play its part."""
    leaving = threading.Thread(target=transport.cleanup, daemon=True)
    leaving.start()
    return leaving


def ask(control: Path, path: str) -> dict[str, Any]:
    """GET, with whatever status; {} where nobody answers."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ASK_SECONDS)
            connection.connect(str(control))
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            response = http.client.HTTPResponse(connection)
            response.begin()
            found: dict[str, Any] = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    return found


def last_status(notify: NotifySocket) -> str:
    """What `systemctl status` would show now."""
    for message in reversed(notify.messages):
        if "STATUS" in message.fields:
            return message.fields["STATUS"]
    return NOTHING


@contextmanager
def witnessing(
    service: Launcher, notify: NotifySocket, url: str, host: str, slots: Sequence[int]
) -> Iterator[Witness]:
    """Looks while the block runs, as a client with the service's options."""
    witness = Witness(service, notify, url, host, slots)
    thread = threading.Thread(target=witness.run, name="witness", daemon=True)
    thread.start()
    try:
        yield witness
    finally:
        witness.end()
        thread.join()
        witness.close()


def settle(witness: Witness) -> None:
    """Wait until the last look is over."""
    looks = witness._looks
    wait_until(lambda: _is_over(looks[-1]), SETTLE_SECONDS, "the last look is over")


def _is_over(look: _Look) -> bool:
    every: list[Future[Any]] = [look.health, look.status, look.main, *look.own.values()]
    return all(_result(one, look.at) is not None for one in every)


def _sight(look: _Look) -> Sight:
    status = _result(look.status, look.at) or {}
    states = {
        int(worker["slot"]): "late" if worker["late"] else str(worker["state"])
        for worker in status.get("workers", ())
    }
    return Sight(
        look.at,
        _result(look.health, look.at) or NOTHING,
        status.get("headline", NOTHING),
        states,
        look.told,
        bool(_result(look.main, look.at)),
        {slot: bool(_result(one, look.at)) for slot, one in look.own.items()},
    )


def _result(future: "Future[Any]", began: float) -> Any:
    """What came of it; False: nothing, for too long, whatever the driver makes of its timeout;
    None: not yet."""
    if future.done():
        return future.result()
    return False if time.monotonic() > began + STUCK_SECONDS else None
