"""oslo.messaging's own functional tests, as they are installed, pass on a unix:// bus."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.directories import short_directory

RUNNER = Path(__file__).with_name("bus_upstream.py")
MODULE = "oslo_messaging.tests.functional.test_functional"
DEADLINE = 100.0  # seconds
PROCESSES = 6  # at once: what the tests do most is sleep

# Every test of the module is named here, so that a new one in a new release is not overlooked.
RPC_TESTS = {
    "CallTestCase.test_bad_endpoint",
    "CallTestCase.test_different_exchanges",
    "CallTestCase.test_endpoint_version_namespace",
    "CallTestCase.test_exception",
    "CallTestCase.test_mandatory_call",
    "CallTestCase.test_monitor_long_call",
    "CallTestCase.test_server_in_group",
    "CallTestCase.test_specific_server",
    "CallTestCase.test_timeout",
    "CallTestCase.test_timeout_with_concurrently_queues",
    "CastTestCase.test_fanout",
    "CastTestCase.test_specific_server",
}
NOTIFICATION_TESTS = {
    "NotifyTestCase.test_all_categories",
    "NotifyTestCase.test_compression",
    "NotifyTestCase.test_independent_topics",
    "NotifyTestCase.test_multiple_topics",
    "NotifyTestCase.test_simple",
    "NotifyTestCase.test_simple_batch",
}
LEFT_OUT = {
    # Of a burst of 23 casts each of three servers has to get one of the last three: a broker that
    # pushes deals them out like cards, here whoever has room takes the next one. How a burst is
    # shared is tested in test_bus_rpc.py.
    "CastTestCase.test_server_in_group",
    "NotifyTestCase.test_multiple_servers",  # each of two servers has to get one of eight
    # Of oslo.metrics: it starts a server on fixed port 3000, and asserts nothing of the driver.
    "MetricsTestCase.test_functional",
}


def run(*arguments: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, str(RUNNER), *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    return report


def test_the_lists_name_all_tests_that_there_are() -> None:
    listed = run("--list")["tests"]

    assert listed == sorted(
        f"{MODULE}.{name}" for name in RPC_TESTS | NOTIFICATION_TESTS | LEFT_OUT
    )


def test_oslo_messagings_functional_tests_pass() -> None:
    names = sorted(f"{MODULE}.{name}" for name in RPC_TESTS | NOTIFICATION_TESTS)
    shares = [names[number::PROCESSES] for number in range(PROCESSES)]

    with short_directory() as directory, ThreadPoolExecutor(PROCESSES) as pool:
        reports = list(pool.map(lambda share: run(str(directory / "bus"), *share), shares))

    assert reports == [{"ran": share, "failed": {}, "skipped": {}} for share in shares]
