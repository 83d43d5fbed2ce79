"""Runs oslo.messaging's installed functional tests against a unix:// bus, in this process.

    python bus_upstream.py --list
    python bus_upstream.py DIRECTORY MODULE.CLASS.TEST …

Prints a JSON object: {"tests": [id, …]}, or {"ran": [id, …], "failed": {id: text}, "skipped": {id:
reason}}.

The tests ask for the 'eventlet' executor by name and import eventlet; here every server gets
native threads. Two of them skip themselves unless the URL is RabbitMQ's, for what that driver can
do and others may not (call monitoring, at_least_once): this one can, so they are told that it is.
"""

import json
import os
import sys
import types
import unittest
from typing import Any

from launcher import native_threads

native_threads.require()

from oslo_messaging import server as messaging_server  # noqa: E402

TESTS = "oslo_messaging.tests.functional.test_functional"


class Url(str):
    """A unix:// URL that says yes when it is asked whether it is RabbitMQ's."""

    __slots__ = ()

    def startswith(self, prefix: Any, *bounds: Any) -> bool:
        return prefix == "rabbit://" or super().startswith(prefix, *bounds)


def use_native_threads() -> None:
    """For every server, whatever executor it is asked for."""
    construct = messaging_server.MessageHandlingServer.__init__

    def threaded(self: Any, transport: Any, dispatcher: Any, executor: Any = None) -> None:
        construct(self, transport, dispatcher, "threading")

    messaging_server.MessageHandlingServer.__init__ = threaded
    sys.modules["eventlet"] = types.SimpleNamespace(  # type: ignore[assignment]
        monkey_patch=lambda: None
    )


def point_at(url: str) -> None:
    """All tests of the package at one bus."""
    from oslo_messaging.tests.functional import utils  # noqa: PLC0415  # after eventlet's stand-in

    os.environ["RPC_TRANSPORT_URL"] = os.environ["NOTIFY_TRANSPORT_URL"] = url
    utils.SkipIfNoTransportURL.rpc_url = property(lambda _: Url(url), lambda *_: None)


def main() -> None:
    use_native_threads()
    directory, *names = sys.argv[1:]
    if directory == "--list":
        answer({"tests": ids(unittest.defaultTestLoader.loadTestsFromName(TESTS))})
    point_at(f"unix://{directory}")
    answer(run(unittest.defaultTestLoader.loadTestsFromNames(names)))


def run(suite: unittest.TestSuite) -> dict[str, Any]:
    """What came of the tests; each is run once."""
    ran = ids(suite)
    result = unittest.TestResult()
    suite.run(result)
    return {
        "ran": ran[: result.testsRun],
        "failed": {test.id(): text for test, text in result.failures + result.errors},
        "skipped": {test.id(): reason for test, reason in result.skipped},
    }


def answer(report: dict[str, Any]) -> None:
    """Print and end; a server that a failed test left behind is not waited for."""
    sys.stdout.write(json.dumps(report))
    sys.stdout.flush()
    os._exit(0)


def ids(suite: unittest.TestSuite) -> list[str]:
    return sorted(test.id() for test in flatten(suite))


def flatten(suite: Any) -> list[unittest.TestCase]:
    """The tests of a suite of suites."""
    if isinstance(suite, unittest.TestSuite):
        return [test for part in suite for test in flatten(part)]
    return [suite]


if __name__ == "__main__":
    main()
