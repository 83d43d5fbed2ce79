"""A database server that is away, refuses or is silent: nobody is killed for it, STATUS says why,
calls go on, and all goes on by itself when it is back.

LAUNCHER_OUTAGE_SECONDS=60 has it be away for longer than a usual run does.
"""

import os
from collections.abc import Iterator

import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import put_text, status, with_options
from tests.support.databases import Database, Server
from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher
from tests.support.proxy import Proxy, proxy
from tests.support.waiting import elapse, wait_until

AWAY_SECONDS = float(os.environ.get("LAUNCHER_OUTAGE_SECONDS", "1"))
SOON = 30.0
REPORTS: dict[str, object] = {"report_interval": 1, "service_down_time": 60}

pytestmark = pytest.mark.timeout(120 + 2 * AWAY_SECONDS)


@pytest.fixture
def link(server: Server) -> Iterator[Proxy]:
    """Between the service and the server."""
    with proxy(server.port) as between:
        yield between


def serve(start: Start, url: str, **settings: object) -> Launcher:
    config = with_options(DEFAULT=REPORTS | settings, database={"connection": url})
    return start("Working", "--workers=2", config=config)


def headline(service: Launcher) -> str:
    return str(status(service)["headline"])


def wait_until_degraded(service: Launcher, why: str) -> None:
    """STATUS and health say so, and calls are answered."""

    def said() -> bool:
        line = headline(service)
        return line.startswith("degraded: 2/2 workers serving") and why in line

    wait_until(said, SOON, "STATUS says why", show=lambda: headline(service))
    assert service.run_command("health").stdout.startswith("warn: ")
    assert service.run_command("ping").status == 0


def wait_until_well(service: Launcher) -> None:
    wait_until(
        lambda: headline(service) == "2/2 workers serving",
        SOON,
        "all is well",
        show=lambda: headline(service),
    )


def test_an_outage_is_two_log_lines_and_kills_nobody(
    start: Start, server: Server, place: Database
) -> None:
    service = serve(start, place.url)
    service.wait_ready()
    wait_until_well(service)
    service.wait_for_line(r"worker=0 pid=\d+ is the lead")
    pids, before = service.workers(), len(service.output)
    server.stop()
    wait_until_degraded(service, "(report to the database: ")
    elapse(AWAY_SECONDS)
    server.start()
    wait_until_well(service)
    first, second = service.output[before:].splitlines()
    assert " WARNING " in first
    assert f"@127.0.0.1:{server.port}/{place.name} cannot be reached: " in first
    assert " INFO " in second
    assert f"@127.0.0.1:{server.port}/{place.name} answers again, after " in second
    assert service.workers() == pids
    assert server.password not in service.output


def test_a_server_that_comes_late_is_waited_for(
    start: Start, server: Server, place: Database
) -> None:
    server.stop()
    service = serve(start, place.url, start_timeout=60)
    service.wait_for_line("cannot be reached: ")
    server.start()
    service.wait_ready()
    wait_until_well(service)


def test_a_wrong_password_is_shown_while_it_is_waited_for(
    start: Start, server: Server, notify: NotifySocket
) -> None:
    url = server.url("postgres", user="nobody", password="hush")
    config = with_options(DEFAULT={"start_timeout": 4}, database={"connection": url})
    service = start("Working", "--workers=2", config=config, notify=notify)
    why = {"postgresql": 'password authentication failed for user "nobody"', "mariadb": "Access d"}
    words = f"waiting for the database: {why[server.kind]}"
    wait_until(
        lambda: any(words in line for line in notify.values("STATUS")), SOON, "STATUS says so"
    )
    assert service.wait() == 69
    assert f"cannot be reached: {why[server.kind]}" in service.output.splitlines()[-1]
    assert "Traceback" not in service.output
    assert "hush" not in service.output


def test_a_silent_server_ends_a_start_with_69(
    start: Start, server: Server, place: Database, link: Proxy
) -> None:
    link.silence()
    service = serve(start, server.url(place.name, port=link.port), start_timeout=5)
    assert service.wait() == 69
    *_, last = service.output.splitlines()
    assert "cannot be reached: " in last
    assert "Traceback" not in service.output
    assert "aborts" not in service.output
    assert service.run_command("services", "list").status == 69


def test_a_server_that_falls_silent_in_the_start_ends_it_with_69(
    start: Start, server: Server, place: Database, link: Proxy
) -> None:
    """Nobody is killed, though one wait for the server takes longer than start_timeout."""
    url = server.url(place.name, port=link.port)
    config = with_options(DEFAULT=REPORTS | {"start_timeout": 5}, database={"connection": url})
    service = start("Writing", "--workers=2", config=config)
    traced = service.state_path / "trace"
    hooks = "pre_start_hook "
    wait_until(
        lambda: traced.exists() and traced.read_text().count(hooks) == 2, SOON, "both are in it"
    )
    link.silence()
    put_text(service, "go", "")
    assert service.wait() == 69
    assert "cannot be reached: " in service.output.splitlines()[-1]
    assert "Traceback" not in service.output
    assert "late by" not in service.output


def test_a_link_that_is_cut_kills_nobody_and_is_made_anew(
    start: Start, server: Server, place: Database, link: Proxy
) -> None:
    service = serve(start, server.url(place.name, port=link.port))
    service.wait_ready()
    wait_until_well(service)
    pids = service.workers()
    link.silence()
    wait_until_degraded(service, "(report to the database: ")
    elapse(AWAY_SECONDS)
    link.heal()
    wait_until_well(service)
    assert service.workers() == pids
